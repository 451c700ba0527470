"""Stage 2 sees tokens: batches of images pass through the frozen encoders on their way to the training step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Key

from effnet_jax.config import AugmentConfig
from effnet_jax.encoders.encode_program import EncodeProgram, encoder_of
from effnet_jax.encoders.tokens import EncodedTokens
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.runtime.sharding import batch_sharded, put_batch, replicated
from effnet_jax.stages.draws import ANCHOR, AUGMENTED
from effnet_jax.stages.views import make_views
from effnet_jax.training.step import Batch, Params

NAMES = {ANCHOR: "anchor", AUGMENTED: "augmented"}
Held = Mapping[str, EncodedTokens]  # by domain
ViewProgram = Callable[[Batch, Key[Array, ""]], dict[tuple[str, int], Float32[Array, "b h w 3"]]]


def make_view_program(
    config: AugmentConfig, preprocessing: Preprocessing, mesh: Mesh, wanted: Mapping[str, tuple[int, ...]]
) -> ViewProgram:
    """Compile (batch of images, key) -> scaled images of the wanted views, by domain and view."""
    views = make_views(config, preprocessing)

    def run(batch: Batch, key: Key[Array, ""]) -> dict[tuple[str, int], Float32[Array, "b h w 3"]]:
        made = {}
        for domain, which in wanted.items():
            made |= {(domain, i): images for i, images in zip(which, views(domain, batch, key, which), strict=True)}
        return made

    rows = batch_sharded(mesh)
    return jax.jit(run, in_shardings=(rows, replicated(mesh)), out_shardings=rows)


def encode_views(
    make_images: ViewProgram, program: EncodeProgram, frozen: Params, batch: Batch, key: Key[Array, ""]
) -> dict[str, Float[Array, "b n d"]]:
    """Give the tokens of the wanted views of a batch on the mesh, by `<domain>_<view>`; each view is encoded alone."""
    return {
        f"{domain}_{NAMES[view]}": program(encoder_of(frozen, domain), {}, images).tokens
        for (domain, view), images in make_images(batch, key).items()
    }


def token_batches(
    batches: Iterator[Mapping[str, np.ndarray]],
    encode: Callable[[Batch, Key[Array, ""]], dict[str, Float[Array, "b n d"]]],
    key: Key[Array, ""],
    mesh: Mesh,
    held: Held,
) -> Iterator[dict[str, Any]]:
    """Turn batches of images into batches of tokens, already on the mesh.

    Args:
        batches: host batches of the input pipeline.
        encode: gives the tokens of the views that are not held.
        key: root of the augmentation.
        mesh: where the batches go.
        held: tokens of anchors that are never augmented, by domain.
    """
    for batch in batches:
        images = {name: rows for name, rows in batch.items() if not name.endswith("_index") or name == "photo_index"}
        on_mesh = put_batch(images, mesh)
        tokens = encode(on_mesh, key)
        kept = {f"{domain}_{NAMES[ANCHOR]}": rows[batch[f"{domain}_index"]] for domain, rows in held.items()}
        rest = {name: on_mesh[name] for name in ("photo_index", "position")}
        yield {**tokens, **put_batch(kept, mesh), **rest}
