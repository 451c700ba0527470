"""Encoders out: .safetensors in timm's names, and a compiled-anywhere artefact that needs only jax to run."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from effnet_jax.config import ModelConfig
from effnet_jax.encoders.encode_program import encoder_of, make_encode
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.encoders.exported import ABOUT, CENTRE
from effnet_jax.encoders.onnx_file import write_onnx
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.losses import unit_norm
from effnet_jax.runtime.versions import versions
from effnet_jax.storage.files import replacing, write_json
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.save import portable, save_encoder

PLATFORMS = ("cpu", "cuda", "tpu")
FORMATS = ("safetensors", "stablehlo")  # by default
ONNX = "onnx"  # where its converter is installed
TOLERANCE = 1e-5  # of the artefact against the live model, over the largest value
Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrainedEncoder:
    """An encoder that is ready to leave.

    Attributes:
        domain: "sketch", "photo", or "" for both.
        config: its architecture.
        params: `backbone`, `head` and, with token recycling, `recycling`.
        batch_stats: `backbone` where there are statistics, else empty.
        preprocessing: what its images go through.
        centre: what is taken off its embeddings, scaled to unit norm; None: nothing is, and they are not scaled.
    """

    domain: str
    config: ModelConfig
    params: Tree
    batch_stats: Tree
    preprocessing: Preprocessing
    centre: Float32[np.ndarray, " z"] | None = None

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.domain or "encoder"

    def embed(self, images: UInt8[Array, "b h w 3"]) -> Float[Array, "b z"]:
        """Embed resized 8-bit RGB images; not of unit norm."""
        encode = make_encode(portable(self.config), self.preprocessing)
        return off_centre(encode(self.params, self.batch_stats, images).embedding, self.centre)


def off_centre(embedding: Float[Array, "b z"], centre: Float32[np.ndarray, " z"] | None) -> Float[Array, "b z"]:
    """Take a domain's mean off the unit embedding, in an artefact; where there is none the embedding stays as it is."""
    return embedding if centre is None else unit_norm(embedding) - centre


def one_by_one(encoders: Encoders) -> list[TrainedEncoder]:
    """Give the encoder for both domains, or that of sketches and that of photos: also where only centres differ."""
    shared = encoders.config.shared_encoders and not encoders.centres
    return [
        TrainedEncoder(
            domain,
            encoders.config,
            encoder_of(encoders.params, domain),
            encoder_of(encoders.batch_stats, domain),
            encoders.preprocessing,
            encoders.centres.get(domain),
        )
        for domain in ([""] if shared else ["sketch", "photo"])
    ]


def export_encoders(
    encoders: Sequence[TrainedEncoder],
    folder: Path,
    *,
    formats: Sequence[str] = FORMATS,
    about: Mapping[str, Any] | None = None,
    besides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write each encoder in each format, and `about.json`, which says what the files are.

    The `.stablehlo` file is a jax.export artefact: weights and scaling inside, any batch size, for CPU, CUDA and TPU.
    `jax.export.deserialize(bytes).call(images)` takes uint8 RGB images of the right size and gives embeddings.

    Args:
        encoders: one for both domains, or sketch and photo.
        folder: made when missing; files of the same names are replaced.
        formats: of "safetensors", "stablehlo", "onnx".
        about: what else to put into about.json, such as the run.
        besides: what about.json says of files that are written already.

    Returns:
        What about.json holds.

    Raises:
        WeightsError: an artefact that does not compute what the live encoder does; it is not kept.
    """
    known = (*FORMATS, ONNX)
    unknown = [name for name in formats if name not in known]
    if unknown or not (formats or besides):
        raise WeightsError(f"formats {', '.join(unknown) or 'none'} are not known; choose of {', '.join(known)}.")
    files: dict[str, Any] = dict(besides or {})
    for encoder in encoders:
        if "safetensors" in formats:
            path = folder / f"{encoder.name}.safetensors"
            save_encoder(
                path, encoder.config, encoder.params, encoder.batch_stats, encoder.preprocessing, domain=encoder.domain
            )
            files[path.name] = _describe(path, encoder)
        if "stablehlo" in formats:
            path = folder / f"{encoder.name}.stablehlo"
            off = write_artefact(path, encoder)
            files[path.name] = _describe(path, encoder) | {"platforms": list(PLATFORMS), "off_by_at_most": off}
        if ONNX in formats:
            path, size = folder / f"{encoder.name}.onnx", encoder.preprocessing.image_size
            off = write_onnx(path, encoder.embed, size, encoder.config.backbone, tolerance=TOLERANCE)
            files[path.name] = _describe(path, encoder) | {"off_by_at_most": off}
    whole = {**(about or {}), "files": files, "versions": versions()["packages"]}
    write_json(folder / ABOUT, whole)
    return whole


def write_artefact(path: Path, encoder: TrainedEncoder) -> float:
    """Write the artefact of one encoder; as `write_checked`, on random images."""
    from jax import export

    size = encoder.preprocessing.image_size
    (batch,) = export.symbolic_shape("b")
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    return write_checked(path, encoder.embed, [jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8)], [images])


def write_checked(path: Path, function: Callable[..., Any], like: Sequence[Any], examples: Sequence[Any]) -> float:
    """Write a function as a jax.export artefact after comparing it with the live one.

    Args:
        path: of the artefact.
        function: of arrays.
        like: shapes and dtypes of its arguments; axes may be symbolic.
        examples: arguments to compare on.

    Returns:
        The largest difference, over the largest value.

    Raises:
        WeightsError: the difference is above `TOLERANCE`; nothing is written.
    """
    from jax import export

    data = bytes(export.export(jax.jit(function), platforms=PLATFORMS)(*like).serialize())
    read = jax.tree.leaves(jax.jit(export.deserialize(bytearray(data)).call)(*examples))
    pairs = zip(jax.tree.leaves(jax.jit(function)(*examples)), read, strict=True)
    off = max(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in pairs)
    if not off <= TOLERANCE:
        raise WeightsError(
            f"{path} would be off by {off:.2g} from what it was made of, more than {TOLERANCE}; not written."
        )
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return off


def _describe_centre(path: Path, encoder: TrainedEncoder) -> dict[str, Any]:
    """A file of weights has no place for a mean, so about.json says what is to be taken off."""
    if encoder.centre is None:
        return {}
    if path.suffix != ".safetensors":
        return {"centred": True}
    return {"centred": False, CENTRE: encoder.centre.tolist()}


def _describe(path: Path, encoder: TrainedEncoder) -> dict[str, Any]:
    return {
        "domain": encoder.domain or "sketch and photo",
        "backbone": encoder.config.backbone,
        "input": "RGB, resized and scaled" if path.suffix == ".safetensors" else "uint8 RGB (b, h, w, 3), resized",
        "preprocessing": encoder.preprocessing.to_dict(),
        "embedding_size": encoder.config.embedding_size,
        **_describe_centre(path, encoder),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
