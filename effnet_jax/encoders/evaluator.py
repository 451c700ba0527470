"""The evaluator's first half: embed a split with the compiled encoders."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from effnet_jax.data.cache import ImageCache
from effnet_jax.encoders.encode_program import BatchStats, EncodeProgram, Params, encoder_of


class Embeddings(NamedTuple):
    """Embeddings of a split, in the order of its ids; not of unit norm."""

    sketches: Float32[np.ndarray, "s z"]
    photos: Float32[np.ndarray, "g z"]


def embed_split(
    program: EncodeProgram, params: Params, images: ImageCache, batch_stats: BatchStats, *, batch_size: int
) -> Embeddings:
    """Embed every sketch and every photo of a split.

    Args:
        program: of the encoders' architecture.
        params: parameters of EffNet.
        images: the split's resized images.
        batch_stats: running statistics of the batch norms; empty where the backbone has none.
        batch_size: images encoded at a time; rounded up to a multiple of the devices.
    """
    embeddings = []
    for domain, rows in (("sketch", images.sketches), ("photo", images.photos)):
        own = encoder_of(params, domain), encoder_of(batch_stats, domain)
        batches = program.batches(*own, rows(program.image_size), batch_size)
        embeddings.append(np.concatenate([program.fetch(encoded.embedding)[valid] for encoded, valid in batches]))
    return Embeddings(*embeddings)
