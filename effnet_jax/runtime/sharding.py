"""The device mesh, and the shardings of batches, parameters and optimiser state."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
SMALLEST_CUT = 1024  # numbers; what is smaller lies on every device also under fsdp


def make_mesh(devices: int | None = None) -> Mesh:
    """Lay the devices out along one axis, `data`; those of one host are neighbours, in the order of the hosts.

    Args:
        devices: how many of the visible devices to use; None for all of them.

    Raises:
        ValueError: more devices are asked for than there are.
    """
    found = jax.device_count()
    count = found if devices is None else devices
    if not 1 <= count <= found:
        raise ValueError(f"a mesh of {count} devices was asked for, but jax sees {found}: {jax.devices()}.")
    # jax.make_mesh would reorder the devices of a TPU pod; rows of a batch belong to hosts, in their order.
    chosen = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[:count]
    # Auto must be said: since jax 0.9 the default is Explicit, under which unannotated modules fail.
    return Mesh(np.array(chosen), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The leading axis is cut into one piece per device."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def param_shardings(tree: Any, mesh: Mesh | AbstractMesh, *, fsdp: bool) -> Any:
    """Give the shardings of parameters, and of optimiser state of the same shapes.

    Args:
        tree: arrays or their descriptions.
        mesh: devices.
        fsdp: cut each matrix along its longest axis that divides by the devices; False: every device holds all.

    Returns:
        The same tree of shardings.
    """

    def sharding_of(leaf: Any) -> NamedSharding:
        lengths = [length if length % mesh.size == 0 else 0 for length in leaf.shape]
        if not fsdp or leaf.ndim < 2 or leaf.size < SMALLEST_CUT or not max(lengths):
            return replicated(mesh)
        axis = lengths.index(max(lengths))
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA_AXIS))

    return jax.tree.map(sharding_of, tree)


def put_batch(batch: Mapping[str, np.ndarray | jax.Array], mesh: Mesh) -> dict[str, jax.Array]:
    """Put this host's rows of a global batch onto the mesh, leading axis sharded; what is on devices already stays."""
    sharding = batch_sharded(mesh)
    return {
        name: rows if isinstance(rows, jax.Array) else jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
    }


def put_rows(rows: np.ndarray, mesh: Mesh) -> jax.Array:
    """Put rows that every host has, all of them, onto the mesh, leading axis sharded."""
    return jax.make_array_from_callback(rows.shape, batch_sharded(mesh), lambda index: rows[index])


def put(tree: Any, shardings: Any) -> Any:
    """Put a pytree that every host has, all of it, onto devices.

    Args:
        tree: arrays on the host, or on devices already in the way asked for.
        shardings: the same tree of shardings.
    """

    def put_one(x: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(x, jax.Array) and (x.sharding == sharding or not x.is_fully_addressable):
            return jax.device_put(x, sharding)
        if jax.process_count() == 1:
            return jax.device_put(x, sharding)
        values = np.asarray(x)  # jax.device_put would compare the hosts' values over the network, array by array
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(put_one, tree, shardings)


def gathered(tree: Any, mesh: Mesh) -> Any:
    """Give every device the whole of arrays on the mesh that may be cut into pieces; the others are left alone."""
    whole = replicated(mesh)
    if all(getattr(x, "sharding", whole).is_fully_replicated for x in jax.tree.leaves(tree)):
        return tree
    return jax.jit(_same, out_shardings=whole)(tree)


def _same(tree: Any) -> Any:
    return tree


def check_divisible(name: str, size: int, mesh: Mesh) -> None:
    """Refuse a batch that does not divide over the devices, naming both numbers.

    Raises:
        ValueError: `size` is not a multiple of the number of devices.
    """
    if size % mesh.size:
        raise ValueError(f"{name}={size} does not divide over {mesh.size} devices; choose a multiple of {mesh.size}.")
