"""Tell the sizes of an encoder from the shapes of its tensors."""

from collections.abc import Mapping
from typing import Any

from effnet_jax.config import ModelConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.models.presets import BACKBONES, Family, preset_of
from effnet_jax.models.trees import Path
from effnet_jax.weights.errors import WeightsError, listing, shown
from effnet_jax.weights.recognise import Recognised

MAX_BLOCKS = 100
MAX_IMAGE = 2**14  # pixels along an edge
HEAD_WIDTH = 64  # channels of an attention head, of all published ViTs
WIDTHS: dict[Family, tuple[Path, int, int]] = {  # whose shape tells the width: our path, their axes, which of these
    "vit": (("cls_token",), 3, -1),
    "swin": (("patch_embed", "kernel"), 4, 0),
    "convnext": (("stem", "kernel"), 4, 0),
    "vgg": (("stages", 0, 0, "kernel"), 4, 0),
    "resnet": (("stem", "conv", "kernel"), 4, 0),
}


def architecture(found: Recognised, where: str, *, heads: int = 0) -> dict[str, Any]:
    """Tell the fields of ModelConfig that describe the encoder, from the shapes alone.

    Args:
        found: the tensors, of which nothing is known but their names.
        where: file, for messages.
        heads: attention heads of a ViT, where something tells them; 0: 64 channels per head.

    Raises:
        WeightsError: sizes that no backbone here can have, or tensors that would tell them missing (all of them).
    """
    family, depths = found.naming.family, found.depths
    if sum(depths) > MAX_BLOCKS:
        raise WeightsError(f"{where} has {sum(depths)} blocks, more than {MAX_BLOCKS}; it is not read.")
    try:
        fields = _sizes(found)
        if family == "vit":
            fields |= _vit(found, fields, heads)
        elif family == "swin":
            fields |= _swin(found, fields)
    except _Unclear as error:
        lines = [f"missing: {name}" for name in found.table() if name not in found.tensors] + list(error.args)
        raise WeightsError(f"{where} does not tell the size of its {family} backbone:\n{listing(lines)}") from error
    except _NoPreset as error:
        raise WeightsError(f"{where} is a {family} backbone that is not built here: {error}") from error
    if size := found.rows(f"{found.head}.weight"):
        fields["embedding_size"] = size
    if found.recycling is not None:  # the authors' encoder was trained as their code does it
        fields |= {"token_recycling": True, "recycling_as_published": True}
        if hidden := found.rows(f"{found.recycling}transformer_models.0.layers.0.linear1.weight"):
            fields["recycling_hidden"] = hidden
    return fields


class _NoPreset(Exception):
    """Sizes that cannot be configured."""


class _Unclear(Exception):
    """A tensor that tells a size is missing, or has the shape that is said."""


def _shape(found: Recognised, path: Path, axes: int) -> tuple[int, ...]:
    """Give the shape of the tensor that becomes one of our parameters, in its own layout."""
    name = next((name for name, target in found.table().items() if target.path == path), None)
    if name not in found.tensors:
        raise _Unclear
    shape = found.tensors[name].shape
    if len(shape) != axes or 0 in shape:
        raise _Unclear(f"misshapen: {shown(name)} is {shape}, not {axes} axes of numbers")
    return shape


def _sizes(found: Recognised) -> dict[str, Any]:
    """Find the preset of these sizes, or the first of the family with what differs from it."""
    family, depths = found.naming.family, found.depths
    kind = (family, found.variant.bottleneck)
    presets = {name: preset for name, preset in BACKBONES.items() if (preset.family, preset.bottleneck) == kind}
    base = next(iter(presets))
    width = presets[base].width
    if family in WIDTHS:
        path, axes, axis = WIDTHS[family]
        width = _shape(found, path, axes)[axis]
    base = next((name for name, p in presets.items() if (p.width, p.depths) == (width, depths)), base)
    fields: dict[str, Any] = {"backbone": base}
    if width != presets[base].width:
        fields["width"] = width
    if depths != presets[base].depths:
        if len(set(depths)) > 1 or len(depths) != len(presets[base].depths):
            built = sorted({p.depths for p in presets.values()})
            raise _NoPreset(f"it has {depths} blocks a stage; built are {built} or all alike")
        fields["depth"] = depths[0]
    return fields


def _vit(found: Recognised, fields: Mapping[str, Any], heads: int) -> dict[str, Any]:
    preset, stem = preset_of(ModelConfig(**fields)), found.variant.stem
    if not heads:
        most = max(1, preset.width // HEAD_WIDTH)
        heads = next(n for n in range(most, 0, -1) if preset.width % n == 0)
    rows = _shape(found, ("pos_embed",), 3)[1]
    kernel = () if stem else _shape(found, ("patch_embed", "kernel"), 4)
    patch = 2**stem if stem else kernel[0 if found.naming.kind == "augreg" else -1]
    return (
        {"patch_size": patch, "image_size": round((rows - 1) ** 0.5) * patch}
        | ({"stem": "conv"} if stem else {})
        | ({"heads": heads} if heads != preset.heads else {})
    )


def _swin(found: Recognised, fields: Mapping[str, Any]) -> dict[str, Any]:
    rows, heads = _shape(found, ("stages", 0, 0, "attn", "relative_position_bias"), 2)
    if rows != 13**2:
        raise _NoPreset(f"its windows have {(round(rows**0.5) + 1) // 2} cells per side, 7 are built")
    return {"heads": heads} if heads != preset_of(ModelConfig(**fields)).heads else {}


def config_of(fields: Mapping[str, Any]) -> ModelConfig:
    """Make the configuration of an encoder from what `architecture` found, or from what a file of ours says.

    Raises:
        ConfigError: fields that do not exist, of a wrong type, or that cannot be built.
    """
    config = from_mapping({"model": {**fields, "weights": "none"}}).model
    if config.image_size > MAX_IMAGE:
        raise ValueError(f"images of {config.image_size} pixels, more than {MAX_IMAGE}")
    return config


def agrees(config: ModelConfig, found: Recognised, where: str) -> None:
    """Check the configuration that a file states against its tensors, before anything of its sizes is built.

    Raises:
        WeightsError: sizes that its tensors do not have, all of them.
    """
    fields = architecture(found, where)
    told = ModelConfig(**fields)
    own, stated = preset_of(told), preset_of(config)
    sizes: dict[str, tuple[Any, Any]] = {
        "backbone": (own.family, stated.family),
        "bottleneck": (own.bottleneck, stated.bottleneck),
        "width": (own.width, stated.width),
        "depth": (own.depths, stated.depths),
    }
    for name in ("patch_size", "image_size", "stem") if own.family == "vit" else ():
        sizes[name] = (getattr(told, name), getattr(config, name))
    if "embedding_size" in fields:
        sizes["embedding_size"] = (told.embedding_size, config.embedding_size)
    hidden = found.tensors.get("recycling.transformers.0.0.fc1.bias")
    if hidden is not None and hidden.ndim == 1:
        sizes["recycling_hidden"] = (hidden.size, config.recycling_hidden)
    wrong = [f"{name} {b}, its tensors {a}" for name, (a, b) in sizes.items() if a != b]
    if wrong:
        raise WeightsError(f"{where}: its metadata and its tensors disagree: they say {'; '.join(wrong)}.")
