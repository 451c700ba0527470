"""Saved arrays: single trees, and what a checkpoint holds, read without the run it belongs to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath

STATE, ABOUT, METRICS = "state", "about", "metrics"  # parts of a checkpoint; orbax names the last one
Tree = TypeVar("Tree")


class CheckpointError(ValueError):
    """A checkpoint that could not be written, or none that can be read."""


def save_tree(folder: Path, tree: Any) -> None:
    """Save arrays that do not change any more, in place of an older folder; it appears when all is on disk."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree, force=True)


def restore_tree(folder: Path, like: Any) -> Any:
    """Restore what `save_tree` saved onto the shapes, dtypes and shardings of `like`.

    Raises:
        ValueError: the folder holds something else.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(folder.absolute(), like)
    except Exception as error:  # damaged files are errors of many kinds
        raise ValueError(f"{folder} does not hold the arrays of this model: {error}") from error


def abstract(state: Tree, sharding: Any) -> Tree:
    """Describe a tree of arrays by shapes, dtypes and shardings (one, or a tree of them), without arrays."""
    if isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.tree.map(lambda _: sharding, state)
    return jax.tree.map(lambda x, own: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own), state, sharding)


def read_about(folder: Path) -> dict[str, Any]:
    """Read what a checkpoint, such as `run/checkpoints/304`, says about its model.

    Raises:
        ValueError: not a checkpoint of this library, or one that says nothing about its model.
    """
    try:
        return dict(ocp.JsonCheckpointHandler().restore(epath.Path(folder.absolute() / ABOUT)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no checkpoint of effnet_jax, or not whole: {error}") from error


def evaluated_parameters(about: Mapping[str, Any]) -> str:
    """Name the part of a checkpoint's state that is evaluated: the parameters, or their moving average."""
    return str(about.get("parameters", "params"))


def read_saved_metrics(folder: Path) -> dict[str, float]:
    """Read the selection metrics of a checkpoint; empty where none were measured."""
    try:
        return dict(ocp.JsonCheckpointHandler(METRICS).restore(epath.Path(folder.absolute() / METRICS)))
    except (OSError, ValueError):
        return {}


def read_tree(
    folder: Path, inside: tuple[str, ...], like: Mapping[str, Any], sharding: jax.sharding.Sharding | None = None
) -> dict[str, Any]:
    """Read some arrays alone, whatever else was saved beside them.

    Args:
        folder: what orbax saved, such as `run/checkpoints/304/state`.
        inside: where the arrays stand in it, such as ("params", "model").
        like: the arrays or their shapes.
        sharding: of all of them; None: on one device of this host.

    Raises:
        ValueError: tensors that are missing, unexpected or misshapen, all of them by name.
        CheckpointError: the tensors cannot be read.
    """
    handler, place = ocp.PyTreeCheckpointHandler(), epath.Path(folder.absolute())
    try:
        tree = handler.metadata(place).tree
        for name in inside:
            tree = tree[name]
        saved = {dotted(path): tuple(leaf.shape) for path, leaf in _leaves(tree)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} does not hold a model of effnet_jax, or not all of it: {error}") from error
    wanted = {dotted(path): tuple(leaf.shape) for path, leaf in _leaves(like)}
    problems = [f"missing: {name}" for name in wanted if name not in saved]
    problems += [f"unexpected: {name}" for name in saved if name not in wanted]
    problems += [
        f"misshapen: {name} is {saved[name]}, the model needs {shape}"
        for name, shape in wanted.items()
        if saved.get(name, shape) != shape
    ]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{folder} does not hold the model that it describes:\n{listed}")
    item: Any = dict(like)
    for name in reversed(inside):
        item = {name: item}
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    how = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=sharding, dtype=x.dtype), item)
    try:
        tree = handler.restore(place, args=ocp.args.PyTreeRestore(item, how, partial_restore=True))
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # damaged files are errors of many kinds
        raise CheckpointError(
            f"the tensors in {folder} cannot be read: {error.__cause__ or error}\n"
            "Bring its files back from a copy, or move this checkpoint out of its run, so that another is taken."
        ) from error
    for name in inside:
        tree = tree[name]
    return tree


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))


def dotted(path: tuple[Any, ...]) -> str:
    """Name a leaf as orbax does."""
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
