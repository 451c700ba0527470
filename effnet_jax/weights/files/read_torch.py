"""Read PyTorch's .pth and .pt files without PyTorch and without executing anything."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.weights.errors import WeightsError, shown, some
from effnet_jax.weights.files.checked_zip import checked_zip
from effnet_jax.weights.files.pickle_reader import interpret
from effnet_jax.weights.files.pickle_values import Tensor

OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of PyTorch before 1.6 begin
MAX_SHARED = 8  # times that tensors which share numbers, laid out in float32, may exceed the file


def read_torch(path: Path) -> "TorchFile":
    """Open a file that torch.save wrote.

    Raises:
        WeightsError: a program (TorchScript), objects beyond tensors and plain containers, damage.
    """
    with checked_zip(path, compressed=False) as archive:
        lists = [name for name in archive.names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(lists) != 1:
            raise WeightsError(f"{path} is an archive, but not one of torch.save: it has {len(lists)} lists data.pkl.")
        top = lists[0].removesuffix("data.pkl")
        outside = [name for name in archive.names if not name.startswith(top)]
        if outside:
            raise WeightsError(f"{path} has entries outside {top!r}: {some(outside)}.")
        if f"{top}byteorder" in archive.names and archive.read(f"{top}byteorder") != b"little":
            raise WeightsError(f"{path} was written on a big-endian machine; load and save it again on another.")
        value = interpret(archive.read(lists[0]), str(path))
    return TorchFile(path, top, value)


class TorchFile:
    """What a PyTorch file holds; numbers are read when they are asked for.

    Attributes:
        value: dicts, lists, tuples, texts, numbers and unread tensors.
    """

    def __init__(self, path: Path, top: str, value: Any):
        self.path, self.value = path, value
        self._top = top

    def load(self, tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Read tensors; bfloat16 becomes float32, which holds it exactly. Shared storages are read once.

        Raises:
            WeightsError: a storage is missing, cut off or damaged, or shared so often that memory would not do.
        """
        size = 4 * sum(math.prod(tensor.shape) for tensor in tensors.values())
        if size > MAX_SHARED * self.path.stat().st_size:
            raise WeightsError(
                f"{self.path} shares its numbers among so many tensors that they would take {size} bytes."
            )
        keys = {tensor.storage.key for tensor in tensors.values()}
        with checked_zip(self.path, compressed=False) as archive:
            storages = {key: archive.read(f"{self._top}data/{key}") for key in keys}
        return {name: self._view(storages[tensor.storage.key], tensor) for name, tensor in tensors.items()}

    def _view(self, data: bytes, tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        dtype = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
        if len(data) < storage.count * dtype.itemsize:
            raise WeightsError(
                f"{self.path}: 'data/{shown(storage.key)}' has {len(data)} bytes, {storage.count} numbers of "
                f"{storage.dtype} need more."
            )
        numbers = np.frombuffer(data, dtype, storage.count)[tensor.offset :]
        strides = tuple(s * dtype.itemsize for s in tensor.strides)
        view = np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
        return (view.astype(np.uint32) << 16).view(np.float32) if storage.dtype == "bfloat16" else view
