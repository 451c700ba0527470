"""The folder of a run: what lies in it under which name. No other file knows these names."""

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from effnet_jax.config import Config, ConfigError
from effnet_jax.config_reader import from_stored
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.runs.checkpoint_reader import read_checkpoint
from effnet_jax.runs.choice import ON_TEST, ON_VALIDATION, RULES, STEP, WORDS, Choice
from effnet_jax.runs.results import Ranks, SavedEmbeddings, read_embeddings, read_json, read_metrics, read_ranks
from effnet_jax.runs.saved import STATE, read_saved_metrics
from effnet_jax.runs.start import Start
from effnet_jax.storage.files import replacing, write_json

log = logging.getLogger(__name__)

_NEEDS = {
    ON_TEST: "the test set; train it with --config.eval.best_on_test",
    ON_VALIDATION: "held-out photos; train it with --config.data.validation_share=0.1",
}


def short_hash(sha256: str) -> str:
    """Give enough of a file's hash to know it among millions of others."""
    return sha256[:16]


class SplitRecord(NamedTuple):
    """What a run wrote down about a split when it began."""

    sha256: str
    sketches: int
    photos: int
    photo_ids: tuple[str, ...]
    photo_sha256: tuple[str, ...] = ()  # as `short_hash` gives them; none in older runs


class Saved(NamedTuple):
    """A checkpoint of a run, and how it was chosen."""

    folder: Path
    step: int
    rule: str
    selection: str  # the rule in words


class Run:
    """The folder of a run.

    Example:
        >>> run = Run("runs/demo")
        >>> run.ranks_file("last_rerank").relative_to(run.folder).as_posix()
        'last_rerank/ranks.csv'

    Args:
        folder: `--workdir` of the run; need not exist yet.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser().absolute()
        self.config_file = self.folder / "config.json"
        self.splits_file = self.folder / "split.json"
        self.versions_file = self.folder / "versions.json"
        self.metrics_file = self.folder / "metrics.json"  # of the report
        self.scalars_file = self.folder / "metrics.jsonl"  # of training
        self.tensorboard = self.folder / "tensorboard"
        self.profile = self.folder / "profile"
        self.checkpoints = self.folder / "checkpoints"
        self.frozen_encoders = self.folder / "encoders"  # of stage 2
        self.frozen_record = self.folder / "encoders.json"  # where those come from; written last
        self.neighbours_file = self.folder / "neighbours.npy"  # of the training photos, where batches are grouped
        self.start_file = self.folder / "start.json"  # where the encoders come from, where init_from names some
        self.lock_file = self.folder / ".training"
        self.figures = self.folder / "figures"
        self.page = self.folder / "report.html"

    @classmethod
    def containing(cls, path: str | os.PathLike[str]) -> tuple["Run", str]:
        """Give the run that a path leads into, and what of it is named.

        Args:
            path: folder of a run; or of one evaluation in it, such as `run/last_rerank`, or of one checkpoint, such as
                `run/checkpoints/304`.

        Returns:
            The run, and the name of the evaluation, the step, or "".
        """
        run = cls(path)
        above = cls(run.folder.parent)
        owner = cls(above.folder.parent)
        if _is_checkpoint(run.folder) and above.folder == owner.checkpoints:
            return owner, run.folder.name
        if above.metrics_file.is_file() and not (run.metrics_file.is_file() or run.config_file.is_file()):
            return above, run.folder.name
        return run, ""

    def ranks_file(self, evaluation: str = "") -> Path:
        """Path of the ranks of one evaluation; "" is that of embeddings that were evaluated by themselves."""
        return self.folder / evaluation / "ranks.csv"

    def embeddings_file(self, evaluation: str) -> Path:
        """Path of the embeddings behind one evaluation."""
        return self.folder / evaluation / "embeddings.npz"

    def grid_file(self, evaluation: str) -> Path:
        """Path of the retrieval grid of one evaluation."""
        return self.folder / evaluation / "retrieval.png"

    @cached_property
    def config(self) -> Config:
        """The configuration; fields that are newer than the run have their defaults, which is what it ran with.

        Raises:
            ConfigError: there is none, or none that this version can read.
        """
        try:
            return from_stored(read_json(self.config_file))
        except ConfigError as error:
            raise ConfigError(f"{self.config_file} is of another version of effnet_jax: {error}") from error
        except ValueError as error:
            raise ConfigError(f"{self.folder} is no run: {error}") from error

    @cached_property
    def splits(self) -> dict[str, SplitRecord]:
        """What is in train, test and, where photos are held out, validation.

        Raises:
            ValueError: that was not written down, or cannot be read.
        """
        try:
            return {
                name: SplitRecord(
                    split["sha256"],
                    split["sketches"],
                    split["photos"],
                    tuple(split["photo_ids"]),
                    tuple(split.get("photo_sha256", ())),
                )
                for name, split in read_json(self.splits_file).items()
            }
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.splits_file} is damaged: it lacks {error}") from error

    @property
    def start(self) -> Start | None:
        """Where the encoders come from; None where nothing was written down.

        Raises:
            ValueError: the file is damaged.
        """
        if not self.start_file.exists():
            return None
        try:
            return Start.read(read_json(self.start_file))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.start_file} is damaged: {error}") from error

    def write_neighbours(self, neighbours: Int32[np.ndarray, "g k"]) -> None:
        """Write down which training photos were alike when the run began; its batches follow from that."""
        with replacing(self.neighbours_file) as temporary, temporary.open("wb") as file:
            np.save(file, neighbours)

    def read_neighbours(self) -> Int32[np.ndarray, "g k"]:
        """Read which training photos were alike when the run began.

        Raises:
            ConfigError: the file is gone or damaged.
        """
        try:
            return np.load(self.neighbours_file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(
                f"{self.neighbours_file} is gone or damaged ({error}), and without it the run would not go on with the "
                "same batches; bring it back, or start anew in another --workdir."
            ) from error

    def write_start(self, start: Start) -> None:
        """Write down where the encoders come from, and warn of what the figures suffer from."""
        write_json(self.start_file, start._asdict())
        for note in start.notes:
            log.warning("%s", note)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What the report of the run says; `results` has one entry for each checkpoint and protocol.

        Raises:
            ValueError: the run was not evaluated, or the file is damaged.
        """
        return read_metrics(self.metrics_file)

    def ranks(self, evaluation: str = "") -> Ranks:
        """What an evaluation answered to every query.

        Raises:
            ValueError: the file is missing or damaged.
        """
        return read_ranks(self.ranks_file(evaluation))

    def embeddings(self, evaluation: str) -> SavedEmbeddings:
        """The embeddings that an evaluation ranked.

        Raises:
            ValueError: the file is missing or damaged.
        """
        path = self.embeddings_file(evaluation)
        if not path.is_file():
            raise ValueError(f"{path} is gone; evaluate the run again.")
        try:
            return read_embeddings(path)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); evaluate the run again.") from error

    def steps(self) -> list[int]:
        """Steps of the checkpoints, in order; other folders there are unfinished saves."""
        return sorted(int(path.name) for path in self.checkpoints.glob("[0-9]*") if path.name.isdigit())

    def checkpoint(self, choice: Choice | str | int = "best") -> Saved:
        """Choose a checkpoint.

        Args:
            choice: "best" (on validation, else the last), "last", "best_on_validation", "best_on_test", or a step.

        Raises:
            ValueError: no such folder, no checkpoint in it, or not that one.
        """
        if not self.folder.exists():
            raise ValueError(f"there is no run in {self.folder}; give the folder that was --workdir when it trained.")
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file; give the folder of a run (its --workdir).")
        steps = self.steps()
        if not steps:
            holds = ", ".join(sorted(path.name for path in self.folder.iterdir())[:8]) or "nothing"
            raise ValueError(
                f"{self.folder} has no checkpoint of a run (a step in {self.checkpoints.name}/); it holds {holds}. "
                "Train it first, or check the path."
            )
        choice = Choice.of(choice)
        candidates = choice.candidates(steps, lambda step: read_saved_metrics(self.checkpoints / str(step)))
        if not candidates:
            if choice.rule != STEP:
                raise ValueError(f"{self.folder} measured no checkpoint on {_NEEDS[choice.rule]}.")
            known = f"{', '.join(RULES)}, or one of the steps {', '.join(map(str, steps))}"
            raise ValueError(f"{self.folder} has no checkpoint {str(choice)!r}; give {known}.")
        rule, step = candidates[0]
        return Saved(self.checkpoints / str(step), step, rule, WORDS[rule])

    def encoders(self, choice: Choice | str | int = "best") -> Encoders:
        """Load the encoders of a checkpoint, chosen as in `checkpoint`, without the data they were trained on.

        Raises:
            ValueError: no such checkpoint, one that is damaged, or does not hold the model that it describes.
        """
        saved = self.checkpoint(choice)
        model = read_json(self.config_file).get("model", {}) if self.config_file.exists() else {}
        return read_checkpoint(saved.folder, selection=saved.selection, frozen=self.frozen_encoders, model=model)


def trained_encoders(run: str | os.PathLike[str], choose: Choice | str | int = "best") -> Encoders:
    """Load the encoders of a trained run.

    Args:
        run: folder of a run, or one checkpoint in it such as `run/checkpoints/304`, or copied out of it, such as
            `backup/304`.
        choose: "best" takes the checkpoint that is best on held-out training photos, or the last one where none were
            held out; "last" the last one; "best_on_validation" and "best_on_test" (the paper's optimistic choice) the
            one of that rule, where the run kept it; or a step.

    Returns:
        Both encoders with their preprocessing and origin, and TRSM where the run is one of stage 2.

    Raises:
        ValueError: no such run or checkpoint, one that is damaged, or does not hold the model that it describes.
    """
    given, (found, step) = Run(run), Run.containing(run)
    if given.folder == found.checkpoints / step:
        return found.encoders(step)
    if _is_checkpoint(given.folder):
        frozen = Run(given.folder.parent.parent).frozen_encoders
        return read_checkpoint(given.folder, selection=WORDS[STEP], frozen=frozen, model={})
    return given.encoders(choose)


def _is_checkpoint(folder: Path) -> bool:
    return folder.name.isdigit() and (folder / STATE).is_dir()
