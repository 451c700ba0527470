"""Tokens of a split's pictures: encoded once and held where memory allows, or encoded again at each access."""

from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Float32, Int

from effnet_jax.data.cache import ImageCache, ImageRows
from effnet_jax.encoders.encode_program import EncodeProgram, Params, encoder_of
from effnet_jax.runtime.hosts import all_hosts
from effnet_jax.runtime.memory import free_memory
from effnet_jax.runtime.progress import track
from effnet_jax.runtime.sharding import put_rows


@runtime_checkable
class TokenRows(Protocol):
    """Tokens of pictures, held in memory or computed when asked for."""

    def __len__(self) -> int:
        """Count the pictures."""
        ...

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"], /) -> Float[np.ndarray, "b n d"]:
        """Give the tokens of some pictures."""
        ...


class EncodedTokens:
    """Final-norm tokens of a row of pictures, by index.

    Args:
        program: that gives tokens.
        params: of one encoder.
        images: resized pictures.
        batch_size: pictures encoded at a time; rounded up to a multiple of the devices.
        hold: encode all of them now and keep the tokens; None: where a quarter of the free memory is enough.
        description: of the progress bar.
    """

    def __init__(
        self,
        program: EncodeProgram,
        params: Params,
        images: ImageRows,
        batch_size: int,
        *,
        hold: bool | None = None,
        description: str = "encoding",
    ):
        self._program, self._params, self._images = program, params, images
        self._batch_size = program.whole(batch_size)
        pictures = jax.ShapeDtypeStruct((self._batch_size, *images.shape[1:]), np.uint8)
        shape = jax.eval_shape(program, params, {}, pictures).tokens
        size = len(images) * shape.size // self._batch_size * shape.dtype.itemsize
        self.held: Float[np.ndarray, "m n d"] | None = None
        self._embeddings: Float32[np.ndarray, "m z"] | None = None  # of the same pass
        if hold or (hold is None and all_hosts(size <= free_memory() // 4)):
            self.held = np.empty((len(images), *shape.shape[1:]), shape.dtype)
            self._embeddings = self._encode_all(self.held, description)

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._images)

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"]) -> Float[np.ndarray, "b n d"]:
        """Give the tokens of some pictures; where they are not held, all hosts must ask for the same ones."""
        if self.held is not None:
            return self.held[rows]
        index = np.arange(len(self))[rows]
        starts = range(0, len(index), self._batch_size)
        return np.concatenate([self._encode(self._images[index[i : i + self._batch_size]]) for i in starts])

    def embeddings(self) -> Float32[np.ndarray, "m z"]:
        """Give the embeddings of all pictures, not of unit norm; held tokens were encoded in the same pass."""
        return self._encode_all(None, "encoding") if self._embeddings is None else self._embeddings

    def black(self) -> Float[np.ndarray, "1 n d"]:
        """Give the tokens of an all-black picture."""
        return self._encode(np.zeros((1, *self._images.shape[1:]), np.uint8))

    def _encode_all(self, tokens: np.ndarray | None, description: str) -> np.ndarray:
        """Encode all pictures, and lay their tokens into an array where there is one."""
        batches = self._program.batches(self._params, {}, self._images, self._batch_size)
        count, parts = -(-len(self) // self._batch_size), []
        for i, (encoded, valid) in enumerate(track(batches, total=count, description=description)):
            parts.append(self._program.fetch(encoded.embedding)[valid])
            if tokens is not None:
                first = i * self._batch_size
                tokens[first : first + len(parts[-1])] = self._program.fetch(encoded.tokens)[valid]
        return np.concatenate(parts)

    def _encode(self, pictures: np.ndarray) -> np.ndarray:
        filled = np.zeros((self._batch_size, *pictures.shape[1:]), np.uint8)
        filled[: len(pictures)] = pictures
        encoded = self._program(self._params, {}, put_rows(filled, self._program.mesh))
        return self._program.fetch(encoded.tokens)[: len(pictures)]


def encode_split(
    program: EncodeProgram, params: Params, images: ImageCache, *, batch_size: int, hold: bool | None = None
) -> tuple[EncodedTokens, EncodedTokens]:
    """Give the tokens of the sketches and of the photos of a split; arguments as in EncodedTokens.

    Args:
        program: that gives tokens.
        params: parameters of EffNet.
        images: the split's resized images.
        batch_size: pictures encoded at a time.
        hold: encode all of them now.
    """
    sketches, photos = (
        EncodedTokens(program, encoder_of(params, domain), rows(program.image_size), batch_size, hold=hold,
                      description=f"encoding {domain}s")
        for domain, rows in (("sketch", images.sketches), ("photo", images.photos))
    )  # fmt: skip
    return sketches, photos
