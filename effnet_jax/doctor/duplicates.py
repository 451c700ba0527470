"""Pictures that are there twice: identical pixels, and photos that are nearly the same.

Nearly the same means one photograph stored twice: compressed again, resized, brightened, mirrored, its margin cut or
widened. Two products that look alike are no finding; telling them apart is the task.

Photos are compared by the direction of their edges: per pixel of a 64 x 64 view the doubled angle of the gradient,
weighted by its size, so that neither light nor saturation counts. The classic 64-bit hash of low frequencies cannot do
this for goods on white paper: 13 pairs of different QMUL shoes share one, and 1,926 of 87,571 pairs differ in 8 bits or
less. The cosine of two views reaches 0.865 between different QMUL chairs and 0.799 between different shoes; ALIKE lies
well above. Found of 60 photos each, chairs / shoes, changed and stored as JPEG of quality 50
(`python benchmarks/doctor.py copies`): as they are, half the size, mirrored, darker, without colour 60 / 60; margin 5 %
wider 55 / 60; 2 % cut off 53 / 59; 4 % cut off 43 / 59; overexposed by 1.3, so that light parts vanish, 43 / 53.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from effnet_jax.doctor.findings import Finding
from effnet_jax.doctor.listing import PHOTO, SKETCH, DataFile
from effnet_jax.doctor.pictures import Look

ALIKE = 0.93
"""Cosine of edge directions from which two photos are reported as nearly the same."""

_SKETCHED = 512  # dimensions that views are first compared in
_SLACK = 0.2  # of cosine that the projection to these may cost: above 4 standard deviations
_BLOCK = 1024  # photos compared at a time
_VIEWS = {"": (0, False), "margin differs": (1, False), "mirrored": (0, True), "mirrored, margin differs": (1, True)}


def check_identical(looks: Sequence[Look]) -> list[Finding]:
    """Group the pictures whose pixels are identical; blank ones are left to their own finding."""
    groups: dict[bytes, list[Look]] = defaultdict(list)
    for look in looks:
        if look.readable and not is_blank(look):
            groups[look.pixels].append(look)
    return [finding for group in groups.values() if len(group) > 1 for finding in _identical(group)]


def _identical(group: list[Look]) -> Iterator[Finding]:
    files = [look.file for look in group]
    photos = [file for file in files if file.role == PHOTO]
    sketches = [file for file in files if file.role == SKETCH]
    if photos and sketches:
        yield Finding("photo as sketch", _names(files))
        sketches = []
    for some, across, within in (
        (photos, "same photo in both splits", "same photo twice"),
        (sketches, "same sketch in both splits", "same sketch twice"),
    ):
        if len({file.split for file in some}) > 1:
            yield Finding(across, _names(some))
        elif len(some) > 1:
            several = some[0].role == SKETCH and len({file.photo_id for file in some}) > 1
            yield Finding("same sketch of two photos" if several else within, _names(some))


def check_alike(looks: Sequence[Look]) -> list[Finding]:
    """Find the pairs of photos that are nearly the same, without those whose pixels are identical."""
    photos = [(look, look.views) for look in looks if look.views is not None and not is_blank(look)]
    if not photos:
        return []
    findings = []
    for i, j, how, cosine in alike_pairs(np.stack([views for _, views in photos])):
        a, b = photos[i][0], photos[j][0]
        if a.pixels != b.pixels:
            kind = "alike" if a.file.split == b.file.split else "alike in both splits"
            findings.append(Finding(kind, _names([a.file, b.file]), describe_alike(how, cosine)))
    return findings


def describe_alike(how: str, cosine: float) -> str:
    """Say how alike two photos are, and what else differs."""
    return f"{100 * cosine:.0f} % alike" + (f", {how}" if how else "")


def alike_pairs(views: UInt8[np.ndarray, "n 2 v v"], *, between: int = 0) -> list[tuple[int, int, str, float]]:
    """Pairs of photos that are nearly the same.

    All pairs are compared in a random projection, and those that may pass in full: memory stays that of a block.

    Args:
        views: of each photo, grey, see `Look.views`.
        between: only pairs of one of the first so many photos and one of the others; 0: all pairs.

    Returns:
        Rows i < j, what else differs ("mirrored", "margin differs" or both), and the cosine.
    """
    if len(views) < 2:
        return []
    size = edge_directions(views[:1, 0]).shape[1]
    projection = np.random.default_rng(0).standard_normal((size, _SKETCHED), np.float32) / np.float32(_SKETCHED**0.5)
    best: dict[tuple[int, int], tuple[float, str]] = {}
    plain = [_projected(views[:, view], projection) for view in (0, 1)]
    for how, (view, mirror) in _VIEWS.items():
        others = _projected(views[:, view, :, ::-1], projection) if mirror else plain[view]
        for i, j in _candidates(plain[view], others, between):
            second = views[j : j + 1, view, :, ::-1] if mirror else views[j : j + 1, view]
            cosine = float(edge_directions(views[i : i + 1, view])[0] @ edge_directions(second)[0])
            if cosine >= ALIKE and cosine > best.get((i, j), (0.0, ""))[0] + 1e-6:
                best[i, j] = cosine, how
    return [(i, j, how, cosine) for (i, j), (cosine, how) in sorted(best.items())]


def edge_directions(views: UInt8[np.ndarray, "n v v"]) -> Float32[np.ndarray, "n d"]:
    """The doubled angles of the gradients of grey pictures, weighted by their size, as unit vectors."""
    grey = views.astype(np.float32)
    across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    size = np.maximum(np.hypot(across, down), 1e-6)
    # |g| (cos 2a, sin 2a) without angles: light on dark and dark on light are one edge
    field = np.stack([(across**2 - down**2) / size, 2 * across * down / size], axis=1)
    flat = field.reshape(len(field), -1)  # (n, 2 (v-2) (v-2))
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _projected(views: np.ndarray, projection: np.ndarray) -> np.ndarray:
    parts = [edge_directions(views[k : k + _BLOCK]) @ projection for k in range(0, len(views), _BLOCK)]
    return np.concatenate(parts)


def _candidates(first: np.ndarray, second: np.ndarray, between: int) -> Iterator[tuple[int, int]]:
    for k in range(0, between or len(first), _BLOCK):
        for m in range(k, len(second), _BLOCK):
            rows, columns = np.nonzero(first[k : k + _BLOCK] @ second[m : m + _BLOCK].T >= ALIKE - _SLACK)
            for i, j in zip((rows + k).tolist(), (columns + m).tolist(), strict=True):
                if i < between <= j or (not between and i < j):
                    yield i, j


def _names(files: Iterable[DataFile]) -> tuple[str, ...]:
    return tuple(sorted(file.name for file in files))


def is_blank(look: Look) -> bool:
    """Tell whether a picture is of one colour, which has a finding of its own."""
    return any(finding.kind == "blank" for finding in look.findings)
