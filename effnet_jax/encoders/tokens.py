"""Tokens of a split's pictures: encoded once and held where memory allows, or encoded again at each access."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from effnet_jax.data.cache import ImageCache, ImageRows
from effnet_jax.data.pipeline import eval_batches
from effnet_jax.data.preprocessing import Preprocessing, normalise
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.runtime.hosts import all_hosts
from effnet_jax.runtime.memory import free_memory
from effnet_jax.runtime.progress import track
from effnet_jax.runtime.sharding import batch_sharded, put_batch, put_rows, replicated

Params = dict[str, Any]
Encode = Callable[[Params, UInt8[Array, "b h w 3"]], Float[Array, "b n d"]]


class EncodedTokens:
    """Final-norm tokens of a row of pictures, by index.

    Args:
        encode: compiled parameters, images -> tokens.
        params: of the encoders.
        images: resized pictures.
        mesh: batches are sharded over it.
        batch_size: pictures encoded at a time; a multiple of the devices.
        hold: encode all of them now and keep the tokens; None: where a quarter of the free memory is enough.
        description: of the progress bar.
    """

    def __init__(
        self,
        encode: Encode,
        params: Params,
        images: ImageRows,
        mesh: Mesh,
        batch_size: int,
        *,
        hold: bool | None = None,
        description: str = "encoding",
    ):
        self._encode, self._params, self._images = encode, params, images
        self._mesh, self._batch_size = mesh, batch_size
        shape = jax.eval_shape(encode, params, jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), np.uint8))
        size = len(images) * shape.size // batch_size * shape.dtype.itemsize
        self.held: Float[np.ndarray, "m n d"] | None = None
        if hold or (hold is None and all_hosts(size <= free_memory() // 4)):
            held = np.empty((len(images), *shape.shape[1:]), shape.dtype)
            count = -(-len(images) // batch_size)
            batches = eval_batches(images, batch_size, host=jax.process_index(), hosts=jax.process_count())
            for i, (batch, valid) in enumerate(track(batches, total=count, description=description)):
                tokens = self._run(put_batch({"images": batch}, mesh)["images"])
                held[i * batch_size : i * batch_size + int(valid.sum())] = tokens[valid]
            self.held = held

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._images)

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"]) -> Float[np.ndarray, "b n d"]:
        """Give the tokens of some pictures; where they are not held, all hosts must ask for the same ones."""
        if self.held is not None:
            return self.held[rows]
        index = np.arange(len(self))[rows]
        parts = []
        for i in range(0, len(index), self._batch_size):
            some = index[i : i + self._batch_size]
            filled = np.zeros((self._batch_size, *self._images.shape[1:]), np.uint8)
            filled[: len(some)] = self._images[some]
            parts.append(self._run(put_rows(filled, self._mesh))[: len(some)])
        return np.concatenate(parts)

    def black(self) -> Float[np.ndarray, "1 n d"]:
        """Give the tokens of an all-black picture."""
        filled = np.zeros((self._batch_size, *self._images.shape[1:]), np.uint8)
        return self._run(put_rows(filled, self._mesh))[:1]

    def _run(self, batch: UInt8[Array, "b h w 3"]) -> Float[np.ndarray, "b n d"]:
        return np.asarray(self._encode(self._params, batch))


class TokenEncoder:
    """Encodes splits to tokens with compiled encoders; the token-wise counterpart of the Embedder.

    Args:
        model: pure functions of EffNet.
        preprocessing: input scaling and image size.
        mesh: batches are sharded over it.
        batch_size: images encoded at a time; rounded up to a multiple of the devices.
    """

    def __init__(self, model: FunctionalEffNet, preprocessing: Preprocessing, mesh: Mesh, batch_size: int):
        self._mesh, self._size = mesh, preprocessing.image_size
        self._batch_size = -(-batch_size // mesh.size) * mesh.size
        whole, rows = replicated(mesh), batch_sharded(mesh)

        def compile_(encode: Callable[..., Any]) -> Encode:
            def tokens(params: Params, images: UInt8[Array, "b h w 3"]) -> Float[Array, "b n d"]:
                return encode(params, normalise(images, preprocessing)).tokens

            return jax.jit(tokens, in_shardings=(whole, rows), out_shardings=whole)

        self._encode = {"sketch": compile_(model.encode_sketches), "photo": compile_(model.encode_photos)}

    def __call__(
        self, params: Params, images: ImageCache, *, hold: bool | None = None
    ) -> tuple[EncodedTokens, EncodedTokens]:
        """Encode the sketches and the photos of a split.

        Args:
            params: of the encoders.
            images: the split's resized images.
            hold: as in EncodedTokens.
        """
        rows = {"sketch": images.sketches(self._size), "photo": images.photos(self._size)}
        sketches, photos = (
            EncodedTokens(
                self._encode[role],
                params,
                rows[role],
                self._mesh,
                self._batch_size,
                hold=hold,
                description=f"encoding {role}s",
            )
            for role in ("sketch", "photo")
        )
        return sketches, photos
