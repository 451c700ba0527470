"""What training and evaluation share: configuration, folder, devices, data and model of one run."""

import dataclasses
import json
import os
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from effnet_jax.config import PHOTOS, Config, ConfigError, Settings
from effnet_jax.config_reader import from_mapping
from effnet_jax.data.cache import CACHE_DIR, ImageCache, Sizes, cached_images
from effnet_jax.data.loading import load_splits
from effnet_jax.data.pipeline import PairImages
from effnet_jax.data.split import Split
from effnet_jax.encoders.encode_program import EncodeProgram
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import FunctionalEffNet, make_functional
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.choice import ON_TEST, ON_VALIDATION
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import FREE_SECTIONS, claimed, open_run, record_splits
from effnet_jax.runtime.compilation_cache import use_compilation_cache
from effnet_jax.runtime.hosts import all_hosts, check_same, first_then_rest, only_first, say_to_all
from effnet_jax.runtime.sharding import make_mesh


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What training and evaluation share: where it runs, on which data, with which functions.

    Attributes:
        config: validated configuration.
        run: its folder.
        mesh: devices.
        splits: train, test and, where there are such photos, validation and unpaired.
        preprocessing: input scaling and image size, stored with every checkpoint.
        model: pure functions of EffNet.
        steps_per_epoch: may be fractional; batches run across epoch ends.
        total_steps: length of the run.
    """

    config: Config
    run: Run
    mesh: Mesh
    splits: dict[str, Split]
    preprocessing: Preprocessing
    model: FunctionalEffNet
    steps_per_epoch: float
    total_steps: int
    _opened: dict[tuple[str, str], ImageCache] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a checkpoint needs to be an encoder again."""
        return {
            "model": dataclasses.asdict(self.config.model),
            "trsm": dataclasses.asdict(self.config.trsm),
            "late": dataclasses.asdict(self.config.late),
            "parameters": "average" if self.config.train.average else "params",
            "preprocessing": self.preprocessing.to_dict(),
            "data": {"name": self.config.data.name, "train_sha256": self.splits["train"].sha256},
        }

    def images(self, split: str, sizes: Sizes) -> ImageCache:
        """Give the resized images of a split, from the cache where they are in it; the same object at each call."""
        data = self.config.data

        def open_cache() -> ImageCache:
            return cached_images(
                self.splits[split], sizes, data.resample, mode=data.cache, cache_dir=data.cache_dir or CACHE_DIR
            )

        key = (split, str(sizes))
        if key not in self._opened:
            self._opened[key] = first_then_rest("opening the image cache", open_cache)
        return self._opened[key]

    def draws(self, split: str) -> bool:
        """Tell whether the sketches of a split are drawn anew in each epoch of training."""
        return split == "unpaired" or self.config.data.name == PHOTOS

    def training_images(self, split: str, sizes: tuple[int, ...]) -> PairImages:
        """Give the images of a split for training; what is drawn by the pen is drawn anew in each epoch."""
        drawn, redraw, seed = self.draws(split), self.config.augment.redraw, self.config.train.seed
        if not (drawn or redraw):
            return self.images(split, sizes)
        from effnet_jax.data.drawings import CANVAS, Drawings, Redrawn  # only here, as it needs OpenCV

        if drawn:
            photos = self.images(split, {"sketch": (), "photo": (*sizes, CANVAS)})
            return Drawings(photos, self.config.pen, seed)
        pairs = self.images(split, {"sketch": (*sizes, CANVAS), "photo": sizes})
        return Redrawn(pairs, self.config.pen, seed, redraw)

    def encode_program(self, *, tokens: str = "") -> EncodeProgram:
        """Give the compiled encoders; `tokens` as in EncodeProgram."""
        return EncodeProgram(self.config.model, self.preprocessing, self.mesh, tokens=tokens)

    def open_checkpoints(self, *, clean: bool = False) -> Checkpoints:
        """Open the checkpoints of the run; `clean` as in Checkpoints."""
        rules = (ON_VALIDATION,) if "validation" in self.splits else ()
        rules += (ON_TEST,) if self.config.eval.best_on_test else ()
        keep = self.config.train.keep_checkpoints
        return Checkpoints(self.run.checkpoints, keep=keep, best_by=rules, clean=clean)


def prepare(
    config: Config | Settings,
    workdir: str | os.PathLike[str],
    *,
    free_sections: tuple[str, ...] = FREE_SECTIONS,
    claim: ExitStack | None = None,
) -> Experiment:
    """Validate the configuration, claim the folder, load the data and describe the model.

    Args:
        config: a Config, or nested mappings such as the ConfigDict of a file in configs/.
        workdir: folder of this one run.
        free_sections: sections of the configuration in which the folder may differ.
        claim: keeps other trainings out of the folder until it is closed; None: this is none.

    Raises:
        ConfigError: the configuration cannot be run, or the folder belongs to another one, or is being trained in.
        DataError: the data set cannot be had or is faulty.
    """
    config = from_mapping(config)
    if "://" in str(workdir):
        raise ConfigError(f"--workdir={workdir} must be a folder that is mounted; docs/pods.md says how for buckets.")
    run = Run(workdir)
    use_compilation_cache(config.log.compilation_cache)
    mesh = make_mesh()
    check_same("the configuration", json.dumps([config.to_dict(), str(run.folder)]))
    if claim is not None:
        only_first("opening --workdir", lambda: claim.enter_context(claimed(run)))
    only_first("opening --workdir", lambda: open_run(run, config, free_sections=free_sections))
    _refuse_separate_folders(run.folder)
    splits = first_then_rest("reading the data", lambda: load_splits(config))
    check_same("the data", json.dumps({name: split.sha256 for name, split in splits.items()}))
    only_first("opening --workdir", lambda: record_splits(run, splits, trains=claim is not None))
    steps_per_epoch = _steps_per_epoch(config, splits)
    return Experiment(
        config=config,
        run=run,
        mesh=mesh,
        splits=splits,
        preprocessing=Preprocessing(
            image_size=config.model.image_size,
            mean=config.data.mean,
            std=config.data.std,
            resample=config.data.resample,
        ),
        model=make_functional(config.model),
        steps_per_epoch=steps_per_epoch,
        total_steps=_total_steps(config, steps_per_epoch),
    )


def _steps_per_epoch(config: Config, splits: dict[str, Split]) -> float:
    """Count the steps of a pass over the training sketches, beside which unpaired photos may fill a part of each batch.

    Raises:
        ConfigError: a batch would hold a sketch twice.
    """
    rows = {"train": float(config.train.batch_size)}
    if "unpaired" in splits:
        rows = {"train": rows["train"] * (1 - config.data.unpaired_share),
                "unpaired": rows["train"] * config.data.unpaired_share}  # fmt: skip
    for name, wanted in rows.items():
        if wanted > (sketches := len(splits[name].sketch_ids)):
            what = "training sketches" if name == "train" else "unpaired photos"
            part = f" takes {wanted:g} for each batch, which" if len(rows) > 1 else ""
            raise ConfigError(f"train.batch_size={config.train.batch_size}{part} is more than the {sketches} {what}.")
    return len(splits["train"].sketch_ids) / rows["train"]


def _total_steps(config: Config, steps_per_epoch: float) -> int:
    steps = max(1, round(config.train.epochs * steps_per_epoch))
    return min(steps, config.train.max_steps or steps)


def _refuse_separate_folders(workdir: Path) -> None:
    """All hosts write into one folder; local folders of the same name would each hold a part of every checkpoint.

    Raises:
        ConfigError: a host does not see what another one wrote.
    """
    mark = workdir / say_to_all("opening --workdir", lambda: f".{uuid.uuid4().hex}.shared")
    only_first("opening --workdir", mark.touch)
    shared = all_hosts(mark.exists())
    only_first("opening --workdir", mark.unlink)
    if not shared:
        raise ConfigError(
            f"--workdir={workdir} is not the same folder on all hosts; put it on storage they share (docs/pods.md)."
        )
