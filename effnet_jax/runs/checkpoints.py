"""Checkpoints of a run; this file and saved.py are all that imports orbax."""

import contextlib
import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as preserve

from effnet_jax.runs.choice import LAST, Choice, measured_by
from effnet_jax.runs.saved import ABOUT, STATE, CheckpointError, dotted, read_saved_metrics
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.hosts import all_hosts, is_first, only_first, say_to_all
from effnet_jax.storage.integrity import LISTING, damage, write_listing

log = logging.getLogger(__name__)

UNFINISHED = ".orbax-checkpoint-tmp"  # behind the step in the name of a folder that orbax is writing
SETTLING_SECONDS, SETTLING_LOOKS = 0.1, 20  # between looks at whether a failed save still writes; looks at most


class DamagedError(CheckpointError):
    """A checkpoint whose files are not what was written."""


class Checkpoints:
    """The last N checkpoints of a run and the best by each selection metric, written in the background.

    Orbax writes to a temporary folder and renames it when all is on disk, so a killed save leaves no checkpoint that
    looks whole. What happens to the files later is found by their checksums: a damaged checkpoint is passed over.
    All hosts write their share, and must make the same calls.

    Args:
        directory: folder of the checkpoints, shared by all hosts; made when missing.
        keep: how many of the latest to keep.
        best_by: rules of runs.choice whose checkpoint is kept besides, such as best_on_validation.
        clean: remove what killed saves left behind; only for the one run that writes here.
    """

    def __init__(self, directory: Path, *, keep: int = 2, best_by: tuple[str, ...] = (), clean: bool = False):
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(_not_told_twice)
        self._directory = directory.absolute()
        self._saving: int | None = None
        self._whole: set[int] = set()  # steps known to be whole
        self._damaged: set[int] = set()
        policies: list[preserve.PreservationPolicy] = [preserve.LatestN(keep)]
        policies += [
            preserve.BestN(get_metric_fn=_metric(rule), n=1, keep_checkpoints_without_metrics=False) for rule in best_by
        ]
        self._manager = ocp.CheckpointManager(
            self._directory,
            item_handlers={STATE: ocp.StandardCheckpointHandler(), ABOUT: ocp.JsonCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preserve.AnyPreservationPolicy(policies),
                best_fn=_metric(best_by[0]) if best_by else lambda metrics: float("-inf"),
                enable_async_checkpointing=True,
                cleanup_tmp_directories=clean,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
            ),
        )

    def save(self, state: TrainState, metadata: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Save in the background under the state's own step; a step that is there already is left alone.

        Args:
            state: what to save.
            metadata: JSON about the model and its preprocessing, enough to rebuild the encoder.
            metrics: selection metrics of this step; may be empty.

        Raises:
            CheckpointError: this save could not begin, or the one before it was not written.
        """
        step = int(state.step)
        self.wait()
        if not all_hosts(self._directory.is_dir()):
            log.warning("%s was removed while the run used it; it is made anew", self._directory)
            self._manager.reload()
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state), ABOUT: ocp.args.JsonSave(dict(metadata))})
        self._saving = step
        with self._clear_errors():
            self._manager.save(step, args=items, metrics=dict(metrics), force=True)

    def latest(self) -> int | None:
        """Give the step of the newest checkpoint that is whole.

        Raises:
            CheckpointError: there are checkpoints, but all of them are damaged.
        """
        found = self.chosen(LAST)
        if found is None and (self.steps() or self._damaged):
            damaged = ", ".join(map(str, sorted(self._damaged)))
            raise CheckpointError(
                f"every checkpoint in {self._directory} is damaged (steps {damaged}). "
                "Bring their files back, or move that folder away to start anew."
            )
        return None if found is None else found[1]

    def chosen(self, choice: Choice | str) -> tuple[str, int] | None:
        """Give the rule and the step that a choice comes to, damaged ones passed over; None where there is none.

        The first host reads what was measured and says it to all: where one could not, hosts would choose differently.
        """

        def listed() -> str:
            return json.dumps(Choice.of(choice).candidates(self.steps(), self.metrics))

        candidates = json.loads(say_to_all("choosing a checkpoint", listed))
        return next(((rule, step) for rule, step in candidates if self._is_whole(step)), None)

    def steps(self) -> list[int]:
        """Give the steps of all checkpoints that are not known to be damaged, in order."""
        return sorted(set(self._manager.all_steps()) - self._damaged)

    def metrics(self, step: int) -> dict[str, float]:
        """Give the metrics that were saved with a step; empty where they cannot be read."""
        return read_saved_metrics(self._directory / str(step))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restore a state onto the shapes, dtypes and shardings of `like`, an abstract TrainState.

        Raises:
            ValueError: the checkpoint does not fit the model; says which folder.
            DamagedError: it cannot be read.
        """
        folder = f"{self._directory}/{step}"
        try:
            tree = self._manager.item_metadata(step)[STATE].tree
        except Exception as error:
            raise self._unreadable(step, error)(f"the checkpoint {folder} cannot be read: {error}") from error
        saved = {leaf.name: tuple(leaf.shape) for leaf in jax.tree.leaves(tree)}
        shapes = {dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
        wrong = [f"{n} {saved[n]}, not {shapes[n]}" for n in shapes if n in saved and saved[n] != shapes[n]]
        wrong += [f"{n} is missing" for n in shapes if n not in saved]
        if wrong:
            raise ValueError(f"the checkpoint {folder} does not hold the state of this model: " + "; ".join(wrong))
        # older checkpoints lack fields that came later
        names = [field.name for field in dataclasses.fields(like)]
        missing = [name for name in names if name not in tree and not getattr(like, name)]
        target = _fields(like, [name for name in names if name not in missing]) if missing else like
        try:
            items = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(target)})
            restored = self._manager.restore(step, args=items)[STATE]
        except Exception as error:
            raise self._unreadable(step, error)(f"the checkpoint {folder} cannot be read: {error}") from error
        return restored if isinstance(restored, TrainState) else TrainState(**restored)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Restore the newest checkpoint that is whole, and move damaged ones that are newer out of the way.

        They are renamed, not deleted, as the run will save these steps again. None where there is no checkpoint.

        Raises:
            ValueError: the checkpoint does not fit the model.
            CheckpointError: all checkpoints are damaged; nothing is renamed then.
        """
        while (step := self.latest()) is not None:
            try:
                state = self.restore(step, like)
            except DamagedError as error:
                self._pass_over(step, str(error))
                continue
            if newer := [damaged for damaged in self._damaged if damaged > step]:
                log.warning("%s: going on from step %d", self._directory, step)
                only_first("moving damaged checkpoints", lambda newer=newer: self._set_aside(newer))
                self._damaged -= set(newer)
                self._manager.reload()
            return state
        return None

    def wait(self) -> None:
        """Block until all saves are on disk.

        Raises:
            CheckpointError: one could not be written.
        """
        with self._clear_errors():
            self._manager.wait_until_finished()
        if self._saving is not None:
            self._whole.add(self._saving)
            self._saving = None

    def close(self) -> None:
        """Finish all saves and free the background threads.

        Raises:
            CheckpointError: one could not be written.
        """
        self.wait()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        """Use the checkpoints in a with statement, so that pending saves are always finished."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Finish pending saves; what went wrong before them is what is told."""
        with contextlib.nullcontext() if kind is None else contextlib.suppress(CheckpointError):
            self.close()

    def _unreadable(self, step: int, error: Exception) -> type[CheckpointError]:
        """What is as it was written and cannot be read all the same is not damaged, and must not be moved away."""
        checked = step in self._whole and (self._directory / str(step) / LISTING).exists()
        no_memory = isinstance(error, MemoryError | jax.errors.JaxRuntimeError)
        return CheckpointError if checked or no_memory else DamagedError

    def _list_files(self) -> None:
        """Runs in the background when all files are written and the folder does not have its name yet."""
        if is_first() and self._saving is not None:
            write_listing(self._directory / f"{self._saving}{UNFINISHED}")

    def _is_whole(self, step: int) -> bool:
        if step in self._whole:
            return True
        folder = self._directory / str(step)
        problems = json.loads(say_to_all("reading checkpoints", lambda: json.dumps(damage(folder))))
        if problems:
            self._pass_over(step, "\n".join(f"  {problem}" for problem in problems))
        else:
            self._whole.add(step)
        return not problems

    def _pass_over(self, step: int, why: str) -> None:
        log.warning("the checkpoint %s/%d is damaged and not used:\n%s", self._directory, step, why)
        self._whole.discard(step)
        self._damaged.add(step)

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            folder = self._directory / str(step)
            if folder.exists():
                folder.rename(self._directory / f"damaged_{step}_{int(time.time())}")

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Tell what could not be written, what there is, and what to do."""
        try:
            yield
        except Exception as error:
            step, self._saving = self._saving, None
            if is_first():
                _remove_settling(self._directory / f"{step}{UNFINISHED}")
            whole = max((s for s in self.steps() if s != step and (self._directory / str(s)).is_dir()), default=None)
            left = "there is no other" if whole is None else f"the newest one on disk is that of step {whole}"
            why = str(error) or repr(error)
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._directory}: {why}\n"
                f"Of this run, {left}. Make room or make the folder writable, then start the same command again."
            ) from error


def _remove_settling(folder: Path) -> None:
    """Remove what a failed save left, again as long as it comes back.

    The first array that fails ends the save, while others are still being written by threads that cannot be joined.
    """
    for _ in range(SETTLING_LOOKS):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(SETTLING_SECONDS)
        if not folder.exists():
            return


def _not_told_twice(record: logging.LogRecord) -> bool:
    """A failed save arrives as CheckpointError; its threads and abandoned futures log a traceback each besides."""
    abandoned = record.name == "asyncio" and "exception was never retrieved" in record.getMessage()
    return not (record.levelno == logging.ERROR and ("orbax" in record.pathname or abandoned))


def _fields(state: TrainState, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def _metric(rule: str) -> Any:
    def metric(metrics: Mapping[str, float]) -> float:
        value = measured_by(rule, metrics)
        return float("-inf") if value is None else value

    return metric
