"""Scores of pairs in blocks: every sketch with every photo, or with a shortlist, in bounded memory on any mesh."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.runtime.hosts import all_hosts
from effnet_jax.runtime.memory import free_memory
from effnet_jax.runtime.progress import track
from effnet_jax.runtime.sharding import put_rows

PHOTO_BLOCK = 64  # photos scored at a time
SKETCH_BLOCK = 32  # sketches scored at a time
SKETCH_GROUP = 512  # sketches whose folded parts stay on the device while the gallery passes once
Part = Any  # what pictures are folded into: a pytree of arrays, pictures along the leading axis


class ScorePrograms(NamedTuple):
    """What scores pairs, compiled. No score may depend on what else is in a block."""

    fold_photos: Callable[[Float[Array, "g n d"]], Part]  # what a photo needs, whatever the sketch; rows on the mesh
    fold_sketches: Callable[[Float[np.ndarray, "s n d"]], Part]  # likewise; whole on every device
    score: Callable[[Part, Part], Float[Array, "s g"]]  # photos, sketches -> every sketch with every photo
    score_some: Callable[[Part, Int[np.ndarray, " m"], Part], Float[Array, "s m"]]  # likewise, with some of a gallery


class BlockScorer:
    """Scores sketches with photos by blocks, compiled and sharded over the photos of a block.

    Memory: the folded parts of `sketch_group` sketches and of one block of photos on the device, and `sketch_group`
    rows of scores on the host, whatever the size of the gallery.

    Args:
        programs: fold pictures, and score what is folded.
        mesh: devices.
        photo_block: photos at a time; rounded up to a multiple of the devices.
        sketch_block: sketches at a time.
        sketch_group: sketches that pass over the gallery together; each group folds the photos anew.
    """

    def __init__(
        self,
        programs: ScorePrograms,
        mesh: Mesh,
        *,
        photo_block: int = PHOTO_BLOCK,
        sketch_block: int = SKETCH_BLOCK,
        sketch_group: int = SKETCH_GROUP,
    ):
        if min(photo_block, sketch_block, sketch_group) < 1:
            raise ValueError(f"blocks must be >= 1: {photo_block=}, {sketch_block=}, {sketch_group=}.")
        self._run = programs
        self._mesh = mesh
        self._photo_block = -(-photo_block // mesh.size) * mesh.size
        self._sketch_block = min(sketch_block, sketch_group)
        self._group = sketch_group // self._sketch_block * self._sketch_block

    def all_pairs(self, sketches: TokenRows, photos: TokenRows) -> Iterator[tuple[slice, Float32[np.ndarray, "b g"]]]:
        """Yield rows of scores: a slice of the sketches, and their scores with the whole gallery.

        Args:
            sketches: tokens of the sketches.
            photos: tokens of the gallery.
        """
        for start in range(0, len(sketches), self._group):
            stop = min(start + self._group, len(sketches))
            folded = [self._sketches(sketches, i) for i in range(start, stop, self._sketch_block)]
            scores = np.empty((len(folded) * self._sketch_block, len(photos)), np.float32)
            blocks = range(0, len(photos), self._photo_block)
            for j in track(blocks, total=len(blocks), description="scoring pairs"):
                real = min(self._photo_block, len(photos) - j)
                block = self._photos(photos[j : j + real])
                waiting = [self._run.score(block, part) for part in folded]
                for i, part in enumerate(waiting):
                    rows = slice(i * self._sketch_block, (i + 1) * self._sketch_block)
                    scores[rows, j : j + real] = np.asarray(part)[:, :real]
            yield slice(start, stop), scores[: stop - start]

    def shortlist(
        self, sketches: TokenRows, photos: TokenRows, chosen: Int[np.ndarray, "s m"]
    ) -> Float32[np.ndarray, "s m"]:
        """Score each sketch with the photos chosen for it only.

        Args:
            sketches: tokens of the sketches.
            photos: tokens of the gallery.
            chosen: rows of the gallery for each sketch.
        """
        unique, places = np.unique(chosen, return_inverse=True)
        places = places.reshape(chosen.shape)
        gallery = self._gallery(photos, unique) if self._fits(photos, len(unique)) else None
        scores = np.empty(chosen.shape, np.float32)
        for i in track(range(len(sketches)), total=len(sketches), description="scoring shortlists"):
            part = self._run.fold_sketches(np.asarray(sketches[i : i + 1]))
            if gallery is not None:
                scores[i] = np.asarray(self._run.score_some(gallery, places[i], part))[0]
                continue
            for j in range(0, chosen.shape[1], self._photo_block):
                rows = chosen[i, j : j + self._photo_block]
                block = self._run.score(self._photos(photos[rows]), part)
                scores[i, j : j + len(rows)] = np.asarray(block)[0, : len(rows)]
        return scores

    def _fits(self, photos: TokenRows, count: int) -> bool:
        """Tell whether the folded parts of so many photos take less than a quarter of what the device has free."""
        stats = jax.local_devices()[0].memory_stats() or {}
        free = stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else free_memory()
        return all_hosts(count * np.asarray(photos[0:1]).nbytes < free // 4)

    def _gallery(self, photos: TokenRows, rows: Int[np.ndarray, " u"]) -> Part:
        """Fold many photos and keep them."""
        parts = []
        for j in range(0, len(rows), self._photo_block):
            some = rows[j : j + self._photo_block]
            leaves, structure = jax.tree.flatten(self._photos(photos[some]))
            parts.append(jax.tree.unflatten(structure, [x[: len(some)] for x in leaves]))
        return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)

    def _photos(self, tokens: Float[np.ndarray, "b n d"]) -> Part:
        return self._run.fold_photos(put_rows(_fill(tokens, self._photo_block), self._mesh))

    def _sketches(self, sketches: TokenRows, start: int) -> Part:
        tokens = sketches[start : min(start + self._sketch_block, len(sketches))]
        return self._run.fold_sketches(_fill(tokens, self._sketch_block))


def _fill(tokens: Float[np.ndarray, "b n d"], size: int) -> Float[np.ndarray, "c n d"]:
    """Repeat the last picture up to the size of a block, so that one compiled function serves all blocks."""
    return np.pad(tokens, ((0, size - len(tokens)), (0, 0), (0, 0)), mode="edge")
