"""The device mesh, and how batches and parameters lie on it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def make_mesh(devices: int | None = None) -> Mesh:
    """Lay the devices out along one axis, `data`.

    Args:
        devices: how many of the visible devices to use; None for all of them.

    Raises:
        ValueError: more devices are asked for than there are.
    """
    found = jax.device_count()
    count = found if devices is None else devices
    if not 1 <= count <= found:
        raise ValueError(f"a mesh of {count} devices was asked for, but jax sees {found}: {jax.devices()}.")
    # Auto must be said: since jax 0.9 the default is Explicit, under which unannotated modules fail.
    return jax.make_mesh((count,), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The leading axis is cut into one piece a device."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def put_batch(batch: Mapping[str, np.ndarray | jax.Array], mesh: Mesh) -> dict[str, jax.Array]:
    """Put this host's rows of a global batch onto the mesh, leading axis sharded; what is on devices already stays."""
    sharding = batch_sharded(mesh)
    return {
        name: rows if isinstance(rows, jax.Array) else jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
    }


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Put a whole pytree onto every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


def check_divisible(name: str, size: int, mesh: Mesh) -> None:
    """Refuse a batch that does not divide over the devices, naming both numbers.

    Raises:
        ValueError: `size` is not a multiple of the number of devices.
    """
    if size % mesh.size:
        raise ValueError(f"{name}={size} does not divide over {mesh.size} devices; choose a multiple of {mesh.size}.")
