"""Read PyTorch's .pth and .pt files without PyTorch and without executing anything."""

from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.weights.archive import Archive
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.pickle_reader import interpret
from effnet_jax.weights.pickle_values import Storage, Tensor

OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of PyTorch before 1.6 begin


def read_torch(path: Path) -> "TorchFile":
    """Open a file that torch.save wrote.

    Raises:
        WeightsError: a program (TorchScript), objects beyond tensors and plain containers, damage.
    """
    with Archive(path, compressed=False) as archive:
        lists = [name for name in archive.names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(lists) != 1:
            raise WeightsError(f"{path} is an archive, but not one of torch.save: it has {len(lists)} lists data.pkl.")
        top = lists[0].removesuffix("data.pkl")
        outside = [name for name in archive.names if not name.startswith(top)]
        if outside:
            raise WeightsError(f"{path} has entries outside {top!r}: {', '.join(map(repr, outside))}.")
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
            WeightsError: a storage is missing, cut off or damaged.
        """
        storages: dict[Storage, np.ndarray] = {}
        with Archive(self.path, compressed=False) as archive:
            for tensor in tensors.values():
                if tensor.storage not in storages:
                    storages[tensor.storage] = self._storage(archive, tensor.storage)
        return {name: _view(storages[tensor.storage], tensor) for name, tensor in tensors.items()}

    def _storage(self, archive: Archive, storage: Storage) -> np.ndarray:
        name = f"{self._top}data/{storage.key}"
        data = archive.read(name)
        dtype = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
        if len(data) < storage.count * dtype.itemsize:
            raise WeightsError(
                f"{self.path}: {name!r} has {len(data)} bytes, {storage.count} numbers of {storage.dtype} need more."
            )
        values = np.frombuffer(data, dtype, storage.count)
        return (values.astype(np.uint32) << 16).view(np.float32) if storage.dtype == "bfloat16" else values


def _view(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    strides = tuple(s * numbers.itemsize for s in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
