"""Stage 2 sees tokens: batches of images pass through the frozen encoders on their way to the training step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from effnet_jax.config import Config
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.encoders.tokens import EncodedTokens
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.runtime.sharding import batch_sharded, put_batch, replicated
from effnet_jax.stages.views import ANCHOR, AUGMENTED, make_views
from effnet_jax.training.step import Batch, Params

NAMES = {ANCHOR: "anchor", AUGMENTED: "augmented"}
Held = Mapping[str, EncodedTokens]  # by domain
EncodeViews = Callable[[Params, Batch, Key[Array, ""]], dict[str, Float[Array, "b n d"]]]


def make_view_encoder(
    config: Config,
    model: FunctionalEffNet,
    preprocessing: Preprocessing,
    mesh: Mesh,
    wanted: Mapping[str, tuple[int, ...]],
) -> EncodeViews:
    """Compile (frozen parameters, batch of images, key) -> tokens of the wanted views, by `<domain>_<view>`.

    Both views of a domain go through the encoder as one batch.
    """
    views = make_views(config.augment, preprocessing)
    encoders = {"sketch": model.encode_sketches, "photo": model.encode_photos}

    def encode(frozen: Params, batch: Batch, key: Key[Array, ""]) -> dict[str, Float[Array, "b n d"]]:
        tokens = {}
        for domain, which in wanted.items():
            if not which:
                continue
            images = views(domain, batch, key, which)
            parts = jnp.split(encoders[domain](frozen, jnp.concatenate(images)).tokens, len(which))
            tokens |= {f"{domain}_{NAMES[i]}": part for i, part in zip(which, parts, strict=True)}
        return tokens

    rows = batch_sharded(mesh)
    return jax.jit(encode, in_shardings=(replicated(mesh), rows, replicated(mesh)), out_shardings=rows)


def token_batches(
    batches: Iterator[Mapping[str, np.ndarray]],
    encode: EncodeViews,
    frozen: Params,
    key: Key[Array, ""],
    mesh: Mesh,
    held: Held,
) -> Iterator[dict[str, Any]]:
    """Turn batches of images into batches of tokens, already on the mesh.

    Args:
        batches: host batches of the input pipeline.
        encode: of the views that are not held.
        frozen: parameters of the encoders.
        key: root of the augmentation.
        mesh: where the batches go.
        held: tokens of anchors that are never augmented, by domain.
    """
    for batch in batches:
        images = {name: rows for name, rows in batch.items() if not name.endswith("_index") or name == "photo_index"}
        on_mesh = put_batch(images, mesh)
        tokens = encode(frozen, on_mesh, key)
        kept = {f"{d}_anchor": rows[batch[f"{d}_index"]] for d, rows in held.items()}
        yield {
            **tokens,
            **put_batch(kept, mesh),
            "photo_index": on_mesh["photo_index"],
            "position": on_mesh["position"],
        }
