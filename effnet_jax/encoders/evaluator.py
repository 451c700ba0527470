"""The evaluator's first half: embed a split with the jitted encoders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, UInt8

from effnet_jax.data.cache import ImageCache
from effnet_jax.data.pipeline import eval_batches
from effnet_jax.data.preprocessing import Preprocessing, normalise
from effnet_jax.data.split import Split
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.runtime.sharding import batch_sharded, put_batch, replicated
from effnet_jax.storage.files import replacing

Params = dict[str, Any]


class Embeddings(NamedTuple):
    """Embeddings of a split, in the order of its ids; not of unit norm."""

    sketches: Float32[np.ndarray, "s z"]
    photos: Float32[np.ndarray, "g z"]


class Embedder:
    """Embeds splits with compiled encoders.

    Args:
        model: pure functions of EffNet.
        preprocessing: input scaling and image size.
        mesh: batches are sharded over it.
        batch_size: images encoded at a time; rounded up to a multiple of the devices.
    """

    def __init__(self, model: FunctionalEffNet, preprocessing: Preprocessing, mesh: Mesh, batch_size: int):
        self._mesh = mesh
        self._size = preprocessing.image_size
        self._batch_size = -(-batch_size // mesh.size) * mesh.size
        self._sketches = self._compile(model.encode_sketches, preprocessing)
        self._photos = self._compile(model.encode_photos, preprocessing)

    def _compile(self, encode: Callable[..., Any], preprocessing: Preprocessing) -> Callable[..., Any]:
        def embed(params: Params, batch_stats: Params, images: UInt8[Array, "b h w 3"]) -> Float[Array, "b z"]:
            return encode(params, normalise(images, preprocessing), batch_stats).embedding

        whole, rows = replicated(self._mesh), batch_sharded(self._mesh)
        return jax.jit(embed, in_shardings=(whole, whole, rows), out_shardings=whole)

    def __call__(self, params: Params, images: ImageCache, batch_stats: Params | None = None) -> Embeddings:
        """Embed every sketch and every photo of a split.

        Args:
            params: parameters of the model.
            images: the split's resized images.
            batch_stats: running statistics of the batch norms, where the backbone has them.
        """
        return Embeddings(
            self._run(self._sketches, params, batch_stats or {}, images.sketches(self._size)),
            self._run(self._photos, params, batch_stats or {}, images.photos(self._size)),
        )

    def _run(self, embed: Callable[..., Any], params: Params, batch_stats: Params, images: Any) -> np.ndarray:
        parts = []
        hosts = {"host": jax.process_index(), "hosts": jax.process_count()}  # each embeds its share, all get everything
        for batch, valid in eval_batches(images, self._batch_size, **hosts):
            on_mesh = put_batch({"images": batch}, self._mesh)["images"]
            parts.append(np.asarray(embed(params, batch_stats, on_mesh))[valid])
        return np.concatenate(parts)


def save_embeddings(path: Path, embeddings: Embeddings, split: Split) -> None:
    """Save the embeddings of a split in the form that `evaluate_embeddings` reads, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            sketch_embeddings=embeddings.sketches,
            photo_embeddings=embeddings.photos,
            sketch_ids=np.array(split.sketch_ids, str),
            photo_ids=np.array(split.photo_ids, str),
            sketch_photo_ids=np.array([split.photo_ids[j] for j in split.photo_index], str),
            tags=np.array(split.tags, str),
        )
