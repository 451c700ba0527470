"""Batches of pictures that are hard to tell apart: groups of sketches whose photos an encoder finds alike. No JAX.

What is retrieved in earnest is told from its likes, and a batch at random holds few of these. Each epoch still shows
every sketch once, and its order follows from neighbours, seed and epoch alone.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32, Int


@dataclasses.dataclass(frozen=True, eq=False)
class GroupedOrder:
    """The order of the sketches in each epoch.

    Args:
        photo_index: row of each sketch's photo.
        neighbours: for each photo the photos most like it, nearest first, itself not among them.
        group: sketches that stand together, above 1: one, and sketches of as many photos like its own.
        seed: of the run.
    """

    photo_index: Int[np.ndarray, " s"]
    neighbours: Int[np.ndarray, "g k"]
    group: int
    seed: int

    def __call__(self, epoch: int) -> Int[np.ndarray, " s"]:
        """Give the sketches in the order of an epoch."""
        return _order(self, epoch)

    def __hash__(self) -> int:
        return id(self)


@functools.lru_cache(maxsize=4)  # batches run across the ends of epochs
def _order(grouped: GroupedOrder, epoch: int) -> Int[np.ndarray, " s"]:
    rng = np.random.default_rng([grouped.seed, 4, epoch])
    sketches = rng.permutation(len(grouped.photo_index)).tolist()
    waiting: dict[int, list[int]] = {}  # by photo, in a new order each epoch
    for sketch in sketches:
        waiting.setdefault(int(grouped.photo_index[sketch]), []).append(sketch)
    groups: list[list[int]] = []
    taken: set[int] = set()
    for sketch in sketches:
        if sketch in taken:
            continue
        photo = int(grouped.photo_index[sketch])
        group = [sketch]
        waiting[photo].remove(sketch)
        for other in grouped.neighbours[photo].tolist():
            if len(group) == grouped.group:
                break
            if waiting.get(other):
                group.append(waiting[other].pop())
        taken.update(group)
        groups.append(group)
    return np.array(_aligned(groups, grouped.group, begun=epoch * len(sketches)))


def _aligned(groups: list[list[int]], size: int, begun: int) -> list[int]:
    """Put whole groups where the end of a batch, of a multiple of `size`, cuts none, and what is left around them.

    Args:
        groups: of at most `size` sketches.
        size: of a whole group.
        begun: sketches that the epochs before showed.
    """
    whole = [group for group in groups if len(group) == size]
    left = [sketch for group in groups if len(group) < size for sketch in group]
    first = min(-begun % size, sum(map(len, groups)))
    while len(left) < first:
        left += whole.pop()
    return [*left[:first], *(sketch for group in whole for sketch in group), *left[first:]]


def nearest_photos(embeddings: Float32[np.ndarray, "g z"], count: int, block: int = 1024) -> Int[np.ndarray, "g k"]:
    """Give for each photo the rows of those most like it by cosine, nearest first, itself not among them.

    Args:
        embeddings: (g, z), of unit norm.
        count: neighbours of each; fewer where there are fewer photos.
        block: photos compared at a time.
    """
    count = min(count, len(embeddings) - 1)
    rows = []
    for start in range(0, len(embeddings), block):
        scores = embeddings[start : start + block] @ embeddings.T
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        rows.append(np.argsort(-scores, axis=1, kind="stable")[:, :count])
    return np.concatenate(rows).astype(np.int32)
