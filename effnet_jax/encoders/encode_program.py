"""The one compiled program that turns images into embeddings and tokens on a mesh.

Parameters are arguments of it: a sketch encoder and a photo encoder, two checkpoints of a run, and whoever asks
(evaluation, stage-2 batches, a catalogue) share what was compiled for one architecture and one shape of images.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, UInt8

from effnet_jax.config import ModelConfig
from effnet_jax.data.cache import ImageRows
from effnet_jax.data.pipeline import eval_batches
from effnet_jax.images.preprocessing import Preprocessing, normalise
from effnet_jax.models.effnet import make_encoder
from effnet_jax.models.encoder import Encoding
from effnet_jax.runtime.sharding import batch_sharded, gathered, put_batch, replicated

Params = dict[str, Any]
BatchStats = dict[str, Any]
Images = UInt8[Array, "b h w 3"] | Float32[Array, "b h w 3"]  # 8-bit, or scaled already
Encode = Callable[[Params, BatchStats, Images], Encoding]


class Encoded(NamedTuple):
    """What the program gives, on the mesh, leading axis sharded."""

    embedding: Float32[Array, "b z"]  # not of unit norm
    tokens: Float[Array, "b n d"]  # final-norm tokens; none of them (n = 0) where they were not asked for


class EncodeProgram:
    """(Parameters, batch statistics, images) -> Encoded, compiled for a mesh.

    Programs of the same arguments are one and compile once for each shape of images, whoever makes them.

    Args:
        config: architecture; where its weights come from and whether both domains share it play no part.
        preprocessing: how 8-bit images are scaled; images of floats are taken as scaled.
        mesh: devices; the rows of a batch must divide over them.
        tokens: dtype of the tokens to give, such as "float16"; "" gives none.
    """

    def __init__(self, config: ModelConfig, preprocessing: Preprocessing, mesh: Mesh, *, tokens: str = ""):
        self.mesh, self.image_size = mesh, preprocessing.image_size
        alike = dataclasses.replace(config, weights="none", shared_encoders=False)
        self._run = _compiled(alike, preprocessing, mesh, tokens)
        self._mixes_rows = config.token_recycling and config.recycling_as_published

    def __call__(self, params: Params, batch_stats: BatchStats, images: Images) -> Encoded:
        """Encode a batch that lies on the mesh, with the parameters of one encoder (`encoder_of`)."""
        return self._run(params, batch_stats, images)

    def batches(
        self, params: Params, batch_stats: BatchStats, images: ImageRows, batch_size: int
    ) -> Iterator[tuple[Encoded, Bool[np.ndarray, " b"]]]:
        """Encode pictures in their order, batch by batch; every host encodes its share of each batch.

        Args:
            params: of one encoder.
            batch_stats: likewise.
            images: pictures of one size.
            batch_size: pictures at a time; rounded up to a multiple of the devices.

        Returns:
            Pairs: what a batch gave, and which of its rows are pictures rather than filling.

        Raises:
            ValueError: filling would change the embeddings (`refuse_filling`).
        """
        size, hosts = self.whole(batch_size), {"host": jax.process_index(), "hosts": jax.process_count()}
        batches = eval_batches(images, size, **hosts)
        self.refuse_filling(-len(images) % size)  # before the first batch is encoded
        for batch, valid in batches:
            yield self(params, batch_stats, put_batch({"images": batch}, self.mesh)["images"]), valid

    def fetch(self, x: Float[Array, "b ..."]) -> Float[np.ndarray, "b ..."]:
        """Give every host all rows of what the program gave."""
        return np.asarray(x if x.is_fully_addressable else gathered(x, self.mesh))

    def refuse_filling(self, rows: int) -> None:
        """Refuse rows that are no pictures where the model mixes the rows of a batch, as the published MSTR does.

        Such a batch is not run at its true size instead: its pictures would be mixed with fewer others than those of
        the whole batches before it, so that embeddings of one split would differ in what they are, without a word.

        Raises:
            ValueError: the embeddings of the pictures beside them would change.
        """
        if rows and self._mixes_rows:
            raise ValueError(
                f"model.recycling_as_published mixes the pictures of a batch, so to fill one up by {rows} would change "
                "the embeddings of those in it; take eval.batch_size=1, or what divides the number of pictures, on one "
                "device. An index needs encoders without it."
            )

    def whole(self, batch_size: int) -> int:
        """Round a batch up to a multiple of the devices."""
        return -(-batch_size // self.mesh.size) * self.mesh.size


def encoder_of(tree: Params, domain: str) -> Params:
    """Give one domain's encoder of EffNet's parameters or batch statistics; a shared encoder serves both.

    Args:
        tree: of EffNet; empty batch statistics stay so.
        domain: "sketch" or "photo".
    """
    return tree.get("encoder") or tree.get(f"{domain}_encoder", {})


def make_encode(config: ModelConfig, preprocessing: Preprocessing) -> Encode:
    """Make the pure function behind the program: one encoder in inference mode, for 8-bit or scaled images."""
    encoder = nnx.eval_shape(lambda: make_encoder(config, rngs=nnx.Rngs(0)))
    graphdef = nnx.split(encoder, nnx.Param, nnx.BatchStat)[0]

    def encode(params: Params, batch_stats: BatchStats, images: Images) -> Encoding:
        scaled = images if jnp.issubdtype(images.dtype, jnp.floating) else normalise(images, preprocessing)
        with jax.default_matmul_precision(config.precision):
            return nnx.merge(graphdef, params, batch_stats)(scaled)

    return encode


@lru_cache(maxsize=8)  # a service may meet many architectures
def _compiled(
    config: ModelConfig, preprocessing: Preprocessing, mesh: Mesh, tokens: str
) -> Callable[[Params, BatchStats, Images], Encoded]:
    encode = make_encode(config, preprocessing)

    def run(params: Params, batch_stats: BatchStats, images: Images) -> Encoded:
        encoding = encode(params, batch_stats, images)
        return Encoded(encoding.embedding, encoding.tokens.astype(tokens) if tokens else encoding.tokens[:, :0])

    whole, rows = replicated(mesh), batch_sharded(mesh)
    return jax.jit(run, in_shardings=(whole, whole, rows), out_shardings=rows)
