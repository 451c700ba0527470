"""Read a file of weights of any known kind: which encoders it holds, of what size, fed with what pixels."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.presets import BACKBONES, preset_of
from effnet_jax.weights.architecture import agrees, architecture, config_of
from effnet_jax.weights.encoder_weights import EncoderWeights
from effnet_jax.weights.errors import WeightsError, refusing, shown, some
from effnet_jax.weights.files.contents import SIDES, read_contents
from effnet_jax.weights.pixels import told_heads, usual_pixels
from effnet_jax.weights.recognise import recognise

STORED = "stored in the file"  # how the preprocessing of our files is known
OWN = "effnet_jax"  # entry of a .safetensors file's metadata that our files have
PAPER_PIXELS = Preprocessing()  # the authors feed [0, 1] at 224
MAX_FILES = 20  # of a folder
DOMAINS = ("", "sketch", "photo")
STAGE_1, STAGE_2 = (
    "checkpoint of EffNet's authors, stage 1", "checkpoint of EffNet's authors, stage 2 (TRSM)",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class WeightsSource:
    """A file of weights.

    Attributes:
        kind: what it is, in words.
        encoders: one, or sketch and photo.
        about: numbers that the file has besides, such as epoch and top1.
        extra: names of tensors of other modules (TRSM), which are not encoders.
    """

    kind: str
    encoders: tuple[EncoderWeights, ...]
    about: dict[str, Any]
    extra: tuple[str, ...] = ()


def read_source(path: str | Path) -> WeightsSource:
    """Read a file of weights of any known kind, or a folder with our files for sketches and for photos.

    Nothing in a file is ever executed.

    Raises:
        WeightsError: a file that is damaged, hostile, or holds nothing that is known; with what it is.
    """
    path = Path(path).expanduser()
    with refusing(path):
        return _folder(path) if path.is_dir() else _file(path)


def _folder(path: Path) -> WeightsSource:
    """Read the encoder for both domains, or the two encoders, that a folder has; by what is stored in the files."""
    files = sorted(path.glob("*.safetensors"))
    encoders = [encoder for file in files[:MAX_FILES] for encoder in _file(file).encoders]
    domains = sorted(encoder.domain for encoder in encoders)
    if len(files) > MAX_FILES or domains not in ([""], ["photo", "sketch"]):
        raise WeightsError(
            f"{path} is a folder, which must hold one .safetensors file for sketches and one for photos, as "
            f"effnet-jax export writes them, or one for both; it has {some(file.name for file in files) or 'none'}"
            + (f", for {', '.join(domain or 'both' for domain in domains)}." if domains else ".")
        )
    kind = "folder of safetensors of effnet_jax" if len(encoders) > 1 else "folder with one safetensors file"
    return WeightsSource(kind, tuple(sorted(encoders, key=lambda encoder: encoder.domain, reverse=True)), {})


def _file(path: Path) -> WeightsSource:
    contents = read_contents(path)
    if OWN in contents.metadata:
        encoder = _own(contents.read(dict(contents.tensors)), contents.metadata[OWN], path)
        return WeightsSource("safetensors of effnet_jax", (encoder,), {})
    models = {domain: _below(f"{side}.", contents.tensors) for domain, side in SIDES.items()}
    if not all(models.values()):
        encoder = _encoder("", contents.read(dict(contents.tensors)), path)
        return WeightsSource(contents.kind, (encoder,), contents.about)
    extra = tuple(name for name in contents.tensors if name.partition(".")[0] not in SIDES.values())
    encoders = (_encoder(domain, contents.read(own), path, authors=True) for domain, own in models.items())
    return WeightsSource(STAGE_2 if extra else STAGE_1, tuple(encoders), contents.about, extra)


def _below(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def _encoder(domain: str, tensors: dict[str, np.ndarray], path: Path, *, authors: bool = False) -> EncoderWeights:
    where = f"{path}{f', {domain} encoder' if domain else ''}"
    found = recognise(tensors, where)
    told = told_heads(found, path)
    fields = architecture(found, where, heads=told)
    if authors or found.authors:
        size = fields.get("image_size", PAPER_PIXELS.image_size)
        pixels, known = dataclasses.replace(PAPER_PIXELS, image_size=size), "as the authors train: [0, 1], nothing more"
    else:
        pixels, known = usual_pixels(found, fields, path)
    try:
        config = config_of({**fields, "image_size": pixels.image_size})
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error
    # Published sizes have known heads; elsewhere the tensors look the same with any number of them.
    published = {preset.width for preset in BACKBONES.values() if preset.family == "vit"}
    sure = told or found.naming.family != "vit" or preset_of(config).width in published
    return EncoderWeights(domain, found, config, pixels, known, where, () if sure else ("heads",))


def _own(tensors: dict[str, np.ndarray], text: str, path: Path) -> EncoderWeights:
    try:
        about = json.loads(text)
        found = recognise(tensors, str(path), own_head=about["head"] is True)
        pixels = Preprocessing.from_dict(about["preprocessing"])
        config = config_of(about["model"])
        if about["domain"] not in DOMAINS:
            raise ValueError(f"domain {shown(about['domain'])}")
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: its metadata of effnet_jax are damaged ({shown(error)}).") from error
    agrees(config, found, str(path))
    return EncoderWeights(about["domain"], found, config, pixels, STORED, str(path))
