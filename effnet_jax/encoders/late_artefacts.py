"""Late interaction for any program with jax: pictures to patches, and patches to scores of pairs, as artefacts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from effnet_jax.config import LateConfig
from effnet_jax.encoders.artefacts import off_centre, write_checked
from effnet_jax.encoders.encode_program import encoder_of, make_encode
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.losses import unit_norm
from effnet_jax.models.presets import BACKBONES, preset_of
from effnet_jax.retrieval.late_interaction import inked_patches, late_scores, near, unit_patches
from effnet_jax.retrieval.scores import mix
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.save import portable

LATE = "late"  # name of the format
FILES = ("sketch_patches.stablehlo", "photo_patches.stablehlo", "pair_scores.stablehlo")


def export_late(encoders: Encoders, folder: Path) -> dict[str, dict[str, Any]]:
    """Write three artefacts, each compared with the live function before it is kept.

    `sketch_patches` and `photo_patches` turn uint8 RGB images (b, h, w, 3) into embeddings (b, z) and patches (b, m, d)
    of unit norm; those of a sketch without ink are zero. `pair_scores` turns both of sketches and both of photos into
    scores (s, g), mixed as the run's `late` section says. Any numbers of pictures, for CPU, CUDA and TPU.

    Args:
        encoders: of a run, ViTs.
        folder: made when missing.

    Returns:
        What about.json says of each file.

    Raises:
        WeightsError: encoders that are no ViT, or an artefact that does not compute what the live function does.
    """
    from jax import export

    config = encoders.config
    if BACKBONES[config.backbone].family != "vit":
        raise WeightsError(f"late interaction compares the patches of a ViT, and this run is of {config.backbone}.")
    size = encoders.preprocessing.image_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    images[1:, : size // 2] = 255  # paper without ink
    made: dict[str, dict[str, Any]] = {}
    outputs = []
    for domain, name in zip(("sketch", "photo"), FILES, strict=False):
        function = _patches(encoders, domain)
        outputs += jax.jit(function)(images)
        (b,) = export.symbolic_shape("b")
        off = write_checked(folder / name, function, [jax.ShapeDtypeStruct((b, size, size, 3), jnp.uint8)], [images])
        made[name] = {"input": "uint8 RGB (b, h, w, 3), resized", "output": "embeddings (b, z), patches (b, m, d)",
                      "preprocessing": encoders.preprocessing.to_dict(), "off_by_at_most": off}  # fmt: skip
    s, g = export.symbolic_shape("s, g")
    patches, width = (size // config.patch_size) ** 2, preset_of(config).width
    shapes = [(n, *rest) for n in (s, g) for rest in ((config.embedding_size,), (patches, width))]
    like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    off = write_checked(folder / FILES[2], _scores(encoders.late, size // config.patch_size), like, outputs)
    made[FILES[2]] = {"input": "embeddings and patches of sketches, then of photos", "output": "scores (s, g)",
                      "off_by_at_most": off}  # fmt: skip
    return made


def _patches(encoders: Encoders, domain: str) -> Callable[..., Any]:
    config = encoders.config
    encode = make_encode(portable(config), encoders.preprocessing)
    params, stats = (encoder_of(tree, domain) for tree in (encoders.params, encoders.batch_stats))

    def patches(images: UInt8[Array, "b h w 3"]) -> tuple[Float32[Array, "b z"], Float32[Array, "b m d"]]:
        encoding = encode(params, stats, images)
        unit = unit_patches(encoding.tokens)
        if domain == "sketch":
            unit = jnp.where(inked_patches(images, config.patch_size, encoders.late.ink)[..., None], unit, 0)
        return off_centre(encoding.embedding, encoders.centres.get(domain)), unit

    return patches


def _scores(late: LateConfig, side: int) -> Callable[..., Any]:
    nearby = near(side, late.window)

    def scores(
        sketches: Float32[Array, "s z"],
        sketch_patches: Float32[Array, "s m d"],
        photos: Float32[Array, "g z"],
        photo_patches: Float32[Array, "g m d"],
    ) -> Float32[Array, "s g"]:
        cosines = jnp.matmul(unit_norm(sketches), unit_norm(photos).T, precision=jax.lax.Precision.HIGHEST)
        return mix(cosines, late_scores(sketch_patches, photo_patches, nearby), late.weight, late.scale)

    return scores
