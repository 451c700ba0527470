"""What the shapes of a file do not tell: the pixels that images must become, and the heads of a ViT."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effnet_jax.images.preprocessing import FILTERS, Preprocessing
from effnet_jax.models.presets import BACKBONES
from effnet_jax.weights.errors import shown
from effnet_jax.weights.recognise import Recognised

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"  # of timm and of Hugging Face
WORDS = {"image_size": "image size", "mean": "mean", "std": "std", "resample": "filter"}
PILLOW = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
MAX_BYTES = 2**20


def usual_pixels(found: Recognised, fields: Mapping[str, Any], path: Path) -> tuple[Preprocessing, str]:
    """Tell what images must go through, and how that is known.

    Args:
        found: whose weights.
        fields: of ModelConfig, as far as the shapes tell them.
        path: the file; `config.json` (timm) and `preprocessor_config.json` (Hugging Face) are looked for beside it.
    """
    (mean, std), naming = found.naming.scaling, found.naming
    sized = naming.image_size == 0  # by its position embeddings, which then decide
    usual = Preprocessing(
        image_size=int(fields.get("image_size") or naming.image_size), mean=mean, std=std, resample=naming.resample
    )
    asked = [name for name in WORDS if not (sized and name == "image_size")]
    ignored, rest = "", f"usual for {naming.source}'s {naming.family} weights"
    for name, read in ((CONFIG, _timm_pixels), (PREPROCESSOR, _huggingface_pixels)):
        values = _beside(path, name)
        told = {key: value for key, value in read(values).items() if key in asked}
        if told and name == CONFIG and not _is_for(values, fields):
            words = f"is for {shown(_architecture(values))}" if _architecture(values) else "names no architecture"
            ignored = f"; {name} beside the file {words}: ignored"
            continue
        try:
            pixels = dataclasses.replace(usual, **told)
        except ValueError:
            ignored = f"; {name} beside the file has values that cannot be: ignored"
            continue
        if told:
            listed = ", ".join(WORDS[key] for key in WORDS if key in told)
            return pixels, f"{listed} from {name} beside the file" + (
                f", the rest {rest}" if len(told) < len(asked) else ""
            )
    return usual, f"assumed: {rest}{ignored}"


def told_heads(found: Recognised, path: Path) -> int:
    """Give the attention heads of a ViT, 0 where nothing tells them.

    Google's tensors keep them apart; Hugging Face's config.json beside the file has them, where it fits.
    """
    if found.naming.kind == "augreg":
        query = found.tensors.get("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel")
        return int(query.shape[1]) if query is not None and query.ndim == 3 else 0
    if found.naming.kind != "huggingface":
        return 0
    values, token = _beside(path, CONFIG), found.tensors.get("embeddings.cls_token")
    heads, width = values.get("num_attention_heads"), values.get("hidden_size")
    fits = values.get("model_type") == "vit" and (values.get("num_hidden_layers"),) == found.depths
    fits = fits and token is not None and token.ndim == 3 and token.shape[-1] == width
    if not fits or type(heads) is not int or type(width) is not int or heads < 1 or width % heads:
        return 0
    return heads


def _beside(path: Path, name: str) -> dict[str, Any]:
    """Read a small JSON object that lies beside a file; empty where there is none that can be read."""
    other = path.with_name(name)
    try:
        values = json.loads(other.read_text()) if other.is_file() and other.stat().st_size < MAX_BYTES else {}
    except (ValueError, OSError, RecursionError):
        return {}  # somebody else's file
    return values if isinstance(values, dict) else {}


def _timm_pixels(values: Mapping[str, Any]) -> dict[str, Any]:
    inner = values.get("pretrained_cfg")
    values = {**values, **inner} if isinstance(inner, dict) else values
    size = values.get("input_size")
    edge = size[-1] if isinstance(size, list) and size else None
    pixels = _scaling(values, "mean", "std") | _filter(values.get("interpolation"))
    return pixels | ({"image_size": edge} if type(edge) is int else {})


def _huggingface_pixels(values: Mapping[str, Any]) -> dict[str, Any]:
    number = values.get("resample")
    return _scaling(values, "image_mean", "image_std") | _filter(PILLOW.get(number) if type(number) is int else None)


def _scaling(values: Mapping[str, Any], mean: str, std: str) -> dict[str, Any]:
    return {
        key: tuple(values[name]) for key, name in (("mean", mean), ("std", std)) if isinstance(values.get(name), list)
    }


def _filter(name: Any) -> dict[str, str]:
    return {"resample": name} if isinstance(name, str) and name in FILTERS else {}


def _architecture(values: Mapping[str, Any]) -> str:
    inner = values.get("pretrained_cfg")
    name = values.get("architecture") or (inner.get("architecture") if isinstance(inner, dict) else None)
    return name if isinstance(name, str) else ""


def _is_for(values: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Tell whether timm's name of an architecture is that of the tensors; DeiT is a ViT."""
    name = _architecture(values).replace("deit", "vit")
    ours = fields["backbone"]
    if BACKBONES[ours].family not in [word.rstrip("0123456789") for word in name.split("_")]:
        return False
    return ours in name or not any(other in name for other in BACKBONES)  # a size that has no name here
