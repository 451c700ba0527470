"""Checkpoints of a run: the only file that imports orbax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as preserve

from effnet_jax.training.state import TrainState

STATE, ABOUT = "state", "about"


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


def abstract(state: TrainState, sharding: jax.sharding.Sharding) -> TrainState:
    """Describe a state by shapes, dtypes and a sharding, without arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def _fields(state: TrainState, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def _dotted(path: tuple[Any, ...]) -> str:
    """Name a leaf as orbax does."""
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)


def _metric(name: str) -> Any:
    return lambda metrics: metrics.get(name, float("-inf"))
