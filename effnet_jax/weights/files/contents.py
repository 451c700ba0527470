"""The tensors of a file of weights of any format, before anybody asks whose they are."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.weights.errors import WeightsError, some
from effnet_jax.weights.files.checked_zip import checked_zip
from effnet_jax.weights.files.pickle_values import Tensor
from effnet_jax.weights.files.read_npz import read_npz
from effnet_jax.weights.files.read_safetensors import read_safetensors
from effnet_jax.weights.files.read_torch import OLD_MAGIC, read_torch

SIDES = {"sketch": "skt_model", "photo": "img_model"}  # names of the two encoders in the authors' files
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "model_ema",
    "state_dict_ema",
    "net",
)  # of weights
NOT_WEIGHTS = {
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"<!DO": "a web page, as a download that needs a confirmation gives; download it in a browser",
    b"<htm": "a web page, as a download that needs a confirmation gives; download it in a browser",
    b"vers": "a pointer of Git LFS; fetch the file itself with git lfs pull",
}


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file of weights holds.

    Attributes:
        kind: format of the file, in words.
        tensors: by name, to be read with `read`; where the authors keep two state dicts, `img_model.` or `skt_model.`
            stands before the names.
        read: gives the numbers of some of the tensors.
        about: plain values that the file has besides, such as epoch and top1.
        metadata: texts in the header of a .safetensors file.
    """

    kind: str
    tensors: Mapping[str, Any]
    read: Callable[[dict[str, Any]], dict[str, np.ndarray]] = dict
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_contents(path: Path) -> Contents:
    """Open a file of weights of any known format; nothing in it is ever executed.

    Raises:
        WeightsError: a file that is damaged, hostile, or no file of weights; with what it is.
    """
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if start[:4] == b"PK\x03\x04":
        with checked_zip(path, compressed=True) as archive:
            arrays = bool(archive.names) and all(name.endswith(".npy") for name in archive.names)
        return Contents(".npz of NumPy arrays", read_npz(path)) if arrays else _torch(path)
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
    return Contents("safetensors", tensors, metadata=metadata)


def _torch(path: Path) -> Contents:
    file = read_torch(path)
    value = file.value
    if type(value) is not dict:
        raise WeightsError(f"{path} holds a {type(value).__name__}, not a dict of tensors (a state_dict).")
    about = {k: v for k, v in value.items() if type(v) in (int, float, str, bool) and type(k) is str}
    scalars = {k: v for k, v in value.items() if type(v) is Tensor and v.shape == () and type(k) is str}
    about |= {name: number.item() for name, number in file.load(scalars).items()}
    return Contents("PyTorch file", _state_dict(value, path), file.load, about)


def _state_dict(value: dict[Any, Any], path: Path) -> dict[str, Tensor]:
    """Find the tensors of a checkpoint, where it keeps its weights."""
    sides = {side: _tensors(value[side]) for side in SIDES.values() if type(value.get(side)) is dict}
    if lacking := [side for side in SIDES.values() if not sides.get(side)]:
        if sides:
            raise WeightsError(f"{path} looks like a checkpoint of EffNet's authors, but {lacking[0]} is missing.")
    else:
        return {f"{side}.{name}": tensor for side, tensors in sides.items() for name, tensor in tensors.items()}
    inner = (_tensors(value[key]) for key in WRAPPERS if type(value.get(key)) is dict)
    tensors = next(filter(None, inner), None) or _tensors(value)
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors where weights are kept; its entries are {some(sorted(map(str, value)))}."
        )
    return tensors


def _tensors(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    tensors = {name: t for name, t in value.items() if type(t) is Tensor and type(name) is str}
    if tensors and all(name.startswith("module.") for name in tensors):  # DataParallel
        return {name.removeprefix("module."): t for name, t in tensors.items()}
    return tensors
