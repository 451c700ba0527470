"""Read a file of weights of any known kind: which encoders it holds, of what size, fed with what pixels."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.models.presets import BACKBONES
from effnet_jax.weights.architecture import agrees, architecture, config_of
from effnet_jax.weights.encoder_weights import EncoderWeights
from effnet_jax.weights.errors import WeightsError, refusing, shown, some
from effnet_jax.weights.files.pickle_values import Tensor
from effnet_jax.weights.files.read_npz import read_npz
from effnet_jax.weights.files.read_safetensors import read_safetensors
from effnet_jax.weights.files.read_torch import OLD_MAGIC, read_torch
from effnet_jax.weights.pixels import told_heads, usual_pixels
from effnet_jax.weights.recognise import recognise

OWN = "effnet_jax"  # entry of a .safetensors file's metadata that our files have
PAPER_PIXELS = Preprocessing()  # the authors feed [0, 1] at 224
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "model_ema",
    "state_dict_ema",
    "net",
)  # where checkpoints keep their weights
MAX_FILES = 20  # of a folder
DOMAINS = ("", "sketch", "photo")
VIT_WIDTHS = tuple(preset.width for name, preset in BACKBONES.items() if name.startswith("vit"))
NOT_WEIGHTS = {
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"<!DO": "a web page, as a download that needs a confirmation gives; download it in a browser",
    b"<htm": "a web page, as a download that needs a confirmation gives; download it in a browser",
    b"vers": "a pointer of Git LFS; fetch the file itself with git lfs pull",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        kind: format of the file, in words.
        encoders: one, or sketch and photo.
        about: numbers that the file has besides, such as epoch and top1.
        extra: names of tensors of other modules (TRSM), which are not encoders.
    """

    kind: str
    encoders: tuple[EncoderWeights, ...]
    about: dict[str, Any]
    extra: tuple[str, ...] = ()


def read_source(path: str | Path) -> Source:
    """Read a file of weights of any known kind, or a folder with our files for sketches and for photos.

    Nothing in a file is ever executed.

    Raises:
        WeightsError: a file that is damaged, hostile, or holds nothing that is known; with what it is.
    """
    path = Path(path).expanduser()
    with refusing(path):
        return _folder(path) if path.is_dir() else _file(path)


def _folder(path: Path) -> Source:
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
    return Source(kind, tuple(sorted(encoders, key=lambda encoder: encoder.domain, reverse=True)), {})


def _file(path: Path) -> Source:
    start = _first_bytes(path)
    if start[:4] == b"PK\x03\x04":
        return _npz(path) if _holds_arrays(path) else _torch(path)
    for magic, what in NOT_WEIGHTS.items():
        if start.startswith(magic):
            raise WeightsError(f"{path} is {what}, not a file of weights.")
    if start.startswith(OLD_MAGIC) or (start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5"):
        raise WeightsError(
            f"{path} is in the old format of PyTorch before 1.6 (or a bare pickle), which cannot be read without "
            "running it. Where you trust it, rewrite it with a new PyTorch: "
            'torch.save(torch.load("old.pth", weights_only=True), "new.pth").'
        )
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".npz"):
        raise WeightsError(f"{path} is neither a PyTorch file nor an .npz file, whatever its name; fetch it again.")
    tensors, metadata = read_safetensors(path)
    if OWN in metadata:
        return Source("safetensors of effnet_jax", (_own(tensors, metadata[OWN], path),), {})
    return Source("safetensors", (_encoder("", tensors, path),), {})


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _holds_arrays(path: Path) -> bool:
    from effnet_jax.weights.files.archive import Archive

    with Archive(path, compressed=True) as archive:
        return bool(archive.names) and all(name.endswith(".npy") for name in archive.names)


def _npz(path: Path) -> Source:
    return Source(".npz of NumPy arrays", (_encoder("", read_npz(path), path),), {})


def _torch(path: Path) -> Source:
    file = read_torch(path)
    if type(file.value) is not dict:
        raise WeightsError(f"{path} holds a {type(file.value).__name__}, not a dict of tensors (a state_dict).")
    models, extra, kind = _models(file.value, path)
    about = {k: v for k, v in file.value.items() if type(v) in (int, float, str, bool) and type(k) is str}
    scalars = {k: v for k, v in file.value.items() if type(v) is Tensor and v.shape == () and type(k) is str}
    about |= {name: value.item() for name, value in file.load(scalars).items()}
    encoders = tuple(
        _encoder(domain, file.load(tensors), path, authors=kind != PLAIN) for domain, tensors in models.items()
    )
    return Source(kind, encoders, about, extra)


PLAIN, STAGE_1, STAGE_2 = (
    "PyTorch file", "checkpoint of EffNet's authors, stage 1", "checkpoint of EffNet's authors, stage 2 (TRSM)",
)  # fmt: skip


def _models(value: dict[Any, Any], path: Path) -> tuple[dict[str, dict[str, Tensor]], tuple[str, ...], str]:
    """Find the state dicts of a checkpoint: domain -> tensors, names of what is no encoder, kind."""
    if type(value.get("img_model")) is dict and type(value.get("skt_model")) is dict:
        return {"sketch": _tensors(value["skt_model"]), "photo": _tensors(value["img_model"])}, (), STAGE_1
    for there, lacking in (("img_model", "skt_model"), ("skt_model", "img_model")):
        if type(value.get(there)) is dict:
            raise WeightsError(f"{path} looks like a checkpoint of EffNet's authors, but {lacking} is missing.")
    for key in WRAPPERS:
        if type(inner := value.get(key)) is dict and _tensors(inner):
            value = inner
            break
    tensors = _tensors(value)
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors where weights are kept; its entries are {some(sorted(map(str, value)))}."
        )
    sides = {"sketch": "skt_model.", "photo": "img_model."}
    of = {
        domain: {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
        for domain, start in sides.items()
    }
    if all(of.values()):
        extra = tuple(name for name in tensors if not name.startswith(tuple(sides.values())))
        return of, extra, STAGE_2
    return {"": tensors}, (), PLAIN


def _tensors(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {name: t for name, t in value.items() if type(t) is Tensor and type(name) is str}
    if tensors and all(name.startswith("module.") for name in tensors):  # DataParallel
        return {name.removeprefix("module."): t for name, t in tensors.items()}
    return tensors


def _encoder(domain: str, tensors: dict[str, np.ndarray], path: Path, *, authors: bool = False) -> EncoderWeights:
    where = f"{path}{f', {domain} encoder' if domain else ''}"
    found = recognise(tensors, where)
    told = told_heads(found, path)
    fields = architecture(found, where, heads=told)
    # Google's files and presets tell their heads; elsewhere the tensors look the same with any number of them.
    sure = told or found.naming.family != "vit" or found.naming.source.startswith("AugReg")
    assumed = () if sure or fields.get("width", 0) in (0, *VIT_WIDTHS) else ("heads",)
    head = found.tensors.get(f"{found.head}.weight")
    if head is not None and head.ndim == 2 and head.size:
        fields["embedding_size"] = int(head.shape[0])
    if authors or found.naming.source.startswith("EffNet"):
        size = fields.get("image_size", PAPER_PIXELS.image_size)
        pixels, known = dataclasses.replace(PAPER_PIXELS, image_size=size), "as the authors train: [0, 1], nothing more"
    else:
        pixels, known = usual_pixels(found, fields, path)
    try:
        config = config_of({**fields, "image_size": pixels.image_size})
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error
    return EncoderWeights(domain, found, config, pixels, known, where, assumed)


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
    return EncoderWeights(about["domain"], found, config, pixels, "stored in the file", str(path))
