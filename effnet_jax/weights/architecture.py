"""Tell the sizes of a backbone from the shapes of its tensors."""

from collections.abc import Mapping
from typing import Any

from effnet_jax.config import ModelConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.models.presets import BACKBONES, Preset
from effnet_jax.weights.errors import WeightsError, listing, shown
from effnet_jax.weights.names.targets import Path
from effnet_jax.weights.recognise import Depths, Recognised

MAX_BLOCKS = 100
MAX_IMAGE = 2**14  # pixels along an edge
HEAD_WIDTH = 64  # channels of an attention head, of all published ViTs


def architecture(found: Recognised, where: str, *, heads: int = 0) -> dict[str, Any]:
    """Tell the fields of ModelConfig that describe the backbone, from the shapes alone.

    Args:
        found: the tensors, of which nothing is known but their names.
        where: file, for messages.
        heads: attention heads of a ViT, where something beside the tensors tells them; 0: 64 channels a head.

    Raises:
        WeightsError: sizes that no backbone here can have, or tensors that would tell them missing (all of them).
    """
    family, depths = found.naming.family, found.depths
    if sum(depths) > MAX_BLOCKS:
        raise WeightsError(f"{where} has {sum(depths)} blocks, more than {MAX_BLOCKS}; it is not read.")
    try:
        if family == "vit":
            return _vit(found, heads)
        if family == "resnet":
            return _resnet(found)
        if family in ("swin", "convnext"):
            return {"image_size": found.naming.image_size, **_staged(found)}
        fields = {"backbone": {"vgg": "vgg16", "inception": "inception_v3"}[family]}
        width = _shape(found, ("stages", 0, 0, "kernel"), 4)[0] if family == "vgg" else 0
        return fields | {"image_size": found.naming.image_size} | ({"width": width} if width not in (0, 64) else {})
    except _Unclear as error:
        lines = [f"missing: {name}" for name in found.table() if name not in found.tensors] + list(error.args)
        raise WeightsError(f"{where} does not tell the size of its {family} backbone:\n{listing(lines)}") from error
    except _NoPreset as error:
        raise WeightsError(f"{where} is a {family} backbone that is not built here: {error}") from error


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


def _vit(found: Recognised, heads: int) -> dict[str, Any]:
    table, depth = found.table(), found.depths[0]
    paths = [target.path for target in table.values()]
    width = _shape(found, ("cls_token",), 3)[-1]
    rows = _shape(found, ("pos_embed",), 3)[1]
    fields: dict[str, Any] = {}
    if ("patch_embed", "kernel") in paths:
        kernel = _shape(found, ("patch_embed", "kernel"), 4)
        patch = kernel[0 if found.naming.source.startswith("AugReg") else -1]
    else:
        patch = 2 ** sum(path[:2] == ("patch_embed", "convolutions") for path in paths)
        fields["stem"] = "conv"
    if found.naming.source.startswith("AugReg"):  # the only ones that keep the heads apart
        query = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
        if query in found.tensors and found.tensors[query].ndim == 3:
            heads = found.tensors[query].shape[1]
    fields |= {"patch_size": patch, "image_size": round((rows - 1) ** 0.5) * patch}
    for name, preset in BACKBONES.items():
        if name.startswith("vit") and preset.width == width and _depths(preset) == (depth,):
            return {"backbone": name, **fields} | ({"heads": heads} if heads not in (0, preset.heads) else {})
    heads = heads or max(1, width // HEAD_WIDTH)
    return {"backbone": "vit_tiny", **fields, "width": width, "depth": depth, "heads": heads}


def _resnet(found: Recognised) -> dict[str, Any]:
    base = "resnet50" if "layer1.0.conv3.weight" in found.tensors else "resnet18"
    kinds = {base: _depths(BACKBONES[base])}
    return {"backbone": base, **_sizes(base, _shape(found, ("stem", "conv", "kernel"), 4)[0], found.depths, kinds)}


def _staged(found: Recognised) -> dict[str, Any]:
    family, depths = found.naming.family, found.depths
    width = _shape(found, ("patch_embed" if family == "swin" else "stem", "kernel"), 4)[0]
    presets = {name: p for name, p in BACKBONES.items() if name.startswith(family)}
    kinds = {name: _depths(p) for name, p in presets.items()}
    fitting = [name for name, p in presets.items() if (p.width, kinds[name]) == (width, depths)]
    base = fitting[0] if fitting else f"{family}_tiny"
    fields = {"backbone": base, **_sizes(base, width, depths, kinds)}
    if family == "swin":
        rows, heads = _shape(found, ("stages", 0, 0, "attn", "relative_position_bias"), 2)
        if rows != 13**2:
            raise _NoPreset(f"its windows have {(round(rows**0.5) + 1) // 2} cells a side, 7 are built")
        if heads != presets[base].heads:
            fields["heads"] = heads
    return fields


def _depths(preset: Preset) -> Depths:
    """Give the blocks, or the blocks of each stage, of a preset; none where they are fixed."""
    sizes = preset.build.keywords if hasattr(preset.build, "keywords") else {}
    return (sizes["depth"],) if "depth" in sizes else tuple(sizes.get("depths", ()))


def _sizes(base: str, width: int, depths: Depths, kinds: Mapping[str, Depths]) -> dict[str, int]:
    fields = {"width": width} if width != BACKBONES[base].width else {}
    if depths != tuple(kinds[base]):
        if len(set(depths)) > 1 or len(depths) != 4:
            raise _NoPreset(f"it has {depths} blocks a stage; built are {sorted(set(kinds.values()))} or all alike")
        fields["depth"] = depths[0]
    return fields


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
    told = config_of(
        architecture(found, where) | ({} if found.naming.family == "vit" else {"image_size": config.image_size})
    )
    sizes: dict[str, tuple[Any, Any]] = {}
    sizes["backbone"] = (found.naming.family, config.backbone.rstrip("0123456789").split("_")[0])
    stated, own = BACKBONES[config.backbone], BACKBONES[told.backbone]
    sizes["width"] = (told.width or own.width, config.width or stated.width)
    sizes["depth"] = (found.depths, _stated_depths(config, stated))
    if found.naming.family == "vit":
        sizes |= {name: (getattr(told, name), getattr(config, name)) for name in ("patch_size", "image_size", "stem")}
    if found.naming.family == "resnet":
        sizes["blocks"] = (told.backbone, "resnet50" if config.backbone == "resnet50" else "resnet18")
    head = found.tensors.get(f"{found.head}.weight")
    if head is not None and head.ndim == 2:
        sizes["embedding_size"] = (head.shape[0], config.embedding_size)
    wrong = [f"{name} {b}, its tensors {a}" for name, (a, b) in sizes.items() if a != b]
    if wrong:
        raise WeightsError(f"{where}: its metadata and its tensors disagree: they say {'; '.join(wrong)}.")


def _stated_depths(config: ModelConfig, preset: Preset) -> Depths:
    depths = _depths(preset)
    return (config.depth,) * len(depths) if config.depth else depths
