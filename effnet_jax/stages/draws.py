"""Whose random numbers are whose: what is folded into the key of a row, so that no two draws are the same."""

ANCHOR, AUGMENTED = 0, 1  # the two views of an image
DOMAINS = ("sketch", "photo")
VIEW = {("sketch", ANCHOR): 0, ("sketch", AUGMENTED): 1, ("photo", ANCHOR): 2, ("photo", AUGMENTED): 3}
IN_ENCODER = {view: 4 + number for view, number in VIEW.items()}  # drop path and dropout of what encodes a view
IN_TRSM = {ANCHOR: 8, AUGMENTED: 9}  # dropout of TRSM on a pair of views
PAIR = 10  # what sketch and photo have in common: whether they are mirrored
