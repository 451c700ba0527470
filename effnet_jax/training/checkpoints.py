"""Checkpoints of a run: the only file that imports orbax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as preserve

from effnet_jax.training.state import TrainState

STATE, ABOUT, METRICS = "state", "about", "metrics"  # orbax names the last one
Tree = TypeVar("Tree")


class Checkpoints:
    """The last N checkpoints of a run and the best by each selection metric, written in the background.

    Orbax writes to a temporary folder and renames it when all is on disk, so a killed save leaves no checkpoint that
    looks whole.

    Args:
        directory: folder of the checkpoints; made when missing.
        keep: how many of the latest to keep.
        best_by: metrics for which the best checkpoint is kept besides; higher is better, the later wins a tie.
    """

    def __init__(self, directory: Path, *, keep: int = 2, best_by: tuple[str, ...] = ()):
        self._best_by = best_by
        policies: list[preserve.PreservationPolicy] = [preserve.LatestN(keep)]
        policies += [
            preserve.BestN(get_metric_fn=_metric(name), n=1, keep_checkpoints_without_metrics=False) for name in best_by
        ]
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            item_handlers={STATE: ocp.StandardCheckpointHandler(), ABOUT: ocp.JsonCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preserve.AnyPreservationPolicy(policies),
                best_fn=_metric(best_by[0] if best_by else "none"),
                enable_async_checkpointing=True,
            ),
        )

    def save(self, state: TrainState, about: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Save in the background under the state's own step; a step that is there already is left alone.

        Args:
            state: what to save.
            about: JSON about the model and its preprocessing, enough to rebuild the encoder.
            metrics: selection metrics of this step; may be empty.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state), ABOUT: ocp.args.JsonSave(dict(about))})
        self._manager.save(step, args=items, metrics=dict(metrics), force=True)

    def latest(self) -> int | None:
        """Give the step of the newest checkpoint."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Give the steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def best(self, name: str) -> int | None:
        """Give the step whose metric `name` is highest, or None when no kept checkpoint has it."""
        scored = [(value[name], step) for step in self._manager.all_steps() if name in (value := self.metrics(step))]
        return max(scored)[1] if scored else None

    def metrics(self, step: int) -> dict[str, float]:
        """Give the metrics that were saved with a step."""
        return dict(self._manager.metrics(step) or {})

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restore a state onto the shapes, dtypes and shardings of `like`, an abstract TrainState.

        Raises:
            ValueError: the checkpoint does not fit the model; says which folder.
        """
        folder = f"{self._manager.directory}/{step}"
        tree = self._manager.item_metadata(step)[STATE].tree
        saved = {leaf.name: tuple(leaf.shape) for leaf in jax.tree.leaves(tree)}
        shapes = {_dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
        wrong = [f"{n} {saved[n]}, not {shapes[n]}" for n in shapes if n in saved and saved[n] != shapes[n]]
        if wrong:
            raise ValueError(f"the checkpoint {folder} does not hold the state of this model: " + "; ".join(wrong))
        # before there were batch statistics, checkpoints had no such field
        target = like if "batch_stats" in tree or like.batch_stats else _fields(like, ("step", "params", "opt_state"))
        try:
            items = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(target)})
            restored = self._manager.restore(step, args=items)[STATE]
            return restored if isinstance(restored, TrainState) else TrainState(**restored)
        except (KeyError, ValueError, FileNotFoundError) as error:
            raise ValueError(f"the checkpoint {folder} does not hold the state of this model: {error}") from error

    def wait(self) -> None:
        """Block until all saves are on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish all saves and free the background threads."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        """Use the checkpoints in a with statement, so that pending saves are always finished."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Finish pending saves."""
        self.close()


def save_tree(folder: Path, tree: Any) -> None:
    """Save arrays that do not change any more; the folder appears when all is on disk."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree)


def restore_tree(folder: Path, like: Any) -> Any:
    """Restore what `save_tree` saved onto the shapes, dtypes and shardings of `like`.

    Raises:
        ValueError: the folder holds something else.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(folder.absolute(), like)
    except (KeyError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"{folder} does not hold the arrays of this model: {error}") from error


def abstract(state: Tree, sharding: Any) -> Tree:
    """Describe a tree of arrays by shapes, dtypes and shardings (one, or a tree of them), without arrays."""
    if isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.tree.map(lambda _: sharding, state)
    return jax.tree.map(lambda x, lies: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=lies), state, sharding)


def _fields(state: TrainState, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def _dotted(path: tuple[Any, ...]) -> str:
    """Name a leaf as orbax does."""
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)


def _metric(name: str) -> Any:
    return lambda metrics: metrics.get(name, float("-inf"))


def read_about(folder: Path) -> dict[str, Any]:
    """Read what a checkpoint, such as `run/checkpoints/304`, says about its model.

    Raises:
        ValueError: not a checkpoint of this library, or one that says nothing about its model.
    """
    try:
        return dict(ocp.JsonCheckpointHandler().restore(epath.Path(folder.absolute() / ABOUT)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no checkpoint of effnet_jax, or not whole: {error}") from error


def read_metrics(folder: Path) -> dict[str, float]:
    """Read the selection metrics of a checkpoint; empty where none were measured."""
    try:
        return dict(ocp.JsonCheckpointHandler(METRICS).restore(epath.Path(folder.absolute() / METRICS)))
    except (OSError, ValueError):
        return {}


def read_tree(folder: Path, inside: tuple[str, ...], like: Mapping[str, Any]) -> dict[str, Any]:
    """Read some arrays alone, onto one device, whatever else was saved beside them.

    Args:
        folder: what orbax saved, such as `run/checkpoints/304/state`.
        inside: where the arrays stand in it, such as ("params", "model").
        like: the arrays or their shapes.

    Raises:
        ValueError: tensors that are missing, unexpected or misshapen, all of them by name.
    """
    handler, place = ocp.PyTreeCheckpointHandler(), epath.Path(folder.absolute())
    try:
        tree = handler.metadata(place).tree
        for name in inside:
            tree = tree[name]
        saved = {_dotted(path): tuple(leaf.shape) for path, leaf in _leaves(tree)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} does not hold a model of effnet_jax, or not all of it: {error}") from error
    wanted = {_dotted(path): tuple(leaf.shape) for path, leaf in _leaves(like)}
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
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    how = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=one, dtype=x.dtype), item)
    tree = handler.restore(place, args=ocp.args.PyTreeRestore(item, how, partial_restore=True))
    for name in inside:
        tree = tree[name]
    return tree


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
