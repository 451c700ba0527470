"""What images must go through for the weights of a file: from a configuration beside it, or what is usual."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effnet_jax.data.preprocessing import FILTERS, Preprocessing
from effnet_jax.weights.recognise import Recognised


def usual_pixels(found: Recognised, fields: Mapping[str, Any], path: Path) -> tuple[Preprocessing, str]:
    """Tell what images must go through, and how that is known.

    Args:
        found: whose weights.
        fields: of ModelConfig, as far as the shapes tell them.
        path: the file; `config.json` (timm) and `preprocessor_config.json` (Hugging Face) are looked for beside it.
    """
    (mean, std), naming = found.naming.scaling, found.naming
    size = int(fields.get("image_size") or naming.image_size)
    usual = Preprocessing(image_size=size, mean=mean, std=std, resample=naming.resample)
    for name, read in (("config.json", _timm_pixels), ("preprocessor_config.json", _huggingface_pixels)):
        beside = path.with_name(name)
        try:
            if beside.is_file() and beside.stat().st_size < 2**20 and (pixels := read(json.loads(beside.read_text()))):
                return dataclasses.replace(usual, **pixels), f"from {name} beside the file"
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            continue  # somebody else's file
    return usual, f"assumed: usual for {naming.source}'s {naming.family} weights"


def _timm_pixels(values: Any) -> dict[str, Any]:
    found = values["pretrained_cfg"]
    return {"mean": tuple(map(float, found["mean"])), "std": tuple(map(float, found["std"]))} | _filter(
        found.get("interpolation")
    )


def _huggingface_pixels(values: Any) -> dict[str, Any]:
    names = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
    return {
        "mean": tuple(map(float, values["image_mean"])),
        "std": tuple(map(float, values["image_std"])),
        **_filter(names.get(values.get("resample"))),
    }


def _filter(name: Any) -> dict[str, str]:
    return {"resample": name} if name in FILTERS else {}
