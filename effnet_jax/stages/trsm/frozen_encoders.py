"""The frozen encoders of stage 2: taken once from a stage-1 run, and kept in the folder of the stage-2 run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from effnet_jax.config import Config, ConfigError
from effnet_jax.data.split import Split
from effnet_jax.encoders.encode_program import Params
from effnet_jax.encoders.exported import is_exported
from effnet_jax.experiment import Experiment
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.choice import BEST, WORDS
from effnet_jax.runs.folder import Run
from effnet_jax.runs.saved import STATE, abstract, evaluated_parameters, read_about, read_tree, restore_tree, save_tree
from effnet_jax.runs.start import Start
from effnet_jax.runs.starting_point import (
    describe_start,
    knows_photos,
    photos_seen,
    refuse_misfits,
    starting_encoders,
)
from effnet_jax.runtime.hosts import only_first, say_to_all
from effnet_jax.runtime.sharding import put, replicated
from effnet_jax.storage.files import write_json
from effnet_jax.storage.integrity import refuse_damaged, write_listing

_CENTRED = (
    "init_from={} was trained with train.centring, and TRSM scores pairs by their tokens, from which no mean is taken "
    "off; train stage 1 without it."
)
# How the encoders compute may differ; what they are, and what they saw, may not.
FREE = {
    "model": ("weights", "dtype", "precision", "attention", "remat"),
    "data": ("dir", "unpaired_photos", "unpaired_share", "tfds_dir", "cache", "cache_dir", "workers"),
}


def frozen_encoders(experiment: Experiment) -> Params:
    """Give the encoders of a stage-2 run: from its own folder, or at first from what `init_from` names.

    Raises:
        ConfigError: no such stage-1 run, no checkpoint, another model, another preprocessing, or splits of which only
            some are those of here; or the run's own copy is not what its configuration says.
    """
    run = experiment.run
    folder, record, wanted = run.frozen_encoders, run.frozen_record, _wanted(experiment)
    like = jax.eval_shape(experiment.model.init, jax.random.key(0))
    like = abstract(like, replicated(experiment.mesh))

    def needed() -> str:
        theirs = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        if _filled(theirs.get("wanted", {})) == wanted:  # the record comes last, so an unfinished copy has none
            refuse_damaged(folder, f"{folder} is damaged; restore it, or start again in another --workdir", ConfigError)
            return ""
        if run.steps():
            raise ConfigError(
                f"{folder} holds other encoders than this run was trained with (see {record}); use another --workdir."
            )
        return "needed"

    if say_to_all("opening the encoders", needed):
        start, params = _take(experiment)
        save_tree(folder, params)
        about = {"init_from": start.run or start.init_from, "step": start.step, "wanted": wanted}

        def finish() -> None:
            write_listing(folder)
            run.write_start(start)
            write_json(record, about)

        only_first("saving the encoders", finish)
    return restore_tree(folder, like)


def _take(experiment: Experiment) -> tuple[Start, Params]:
    """Read the encoders that `init_from` names: of a stage-1 run, or what export wrote.

    Raises:
        ConfigError: as `frozen_encoders`.
    """
    config, splits = experiment.config, experiment.splits
    if is_exported(Path(config.init_from).expanduser()):
        return _transferred(experiment)
    source, step = Run.containing(config.init_from)
    theirs = stage1_config(source)
    if not _same_data(source, theirs, experiment):
        return _transferred(experiment)
    _check(source, theirs, experiment)
    rule, step, params = _load(source, step or BEST, experiment)
    origin = {"run": str(source.folder), "step": step, "selection": WORDS[rule], "data": {"name": theirs.data.name}}
    return describe_start(origin, config.init_from, splits, same_data=True), params


def _transferred(experiment: Experiment) -> tuple[Start, Params]:
    """Read encoders that were trained on other data, or on what is not known here."""
    config = experiment.config
    encoders = starting_encoders(config.init_from)
    if encoders.centres:
        raise ConfigError(_CENTRED.format(config.init_from))
    refuse_misfits(encoders, config)
    whole = jax.tree.map(lambda _: replicated(experiment.mesh), encoders.params)
    return describe_start(encoders.origin, config.init_from, experiment.splits), put(encoders.params, whole)


def _same_data(source: Run, config: Config, experiment: Experiment) -> bool:
    """Whether a run was trained on this data: a split in common, or one set divided otherwise. Else transfer is meant.

    One set is one name and at least half of the photos, as many folders bear the same name.
    """
    try:
        theirs = source.splits
    except ValueError as error:
        raise ConfigError(f"init_from={experiment.config.init_from}: {error}") from error
    ours = _paired(experiment)
    if any(name in theirs and theirs[name].sha256 == split.sha256 for name, split in ours.items()):
        return True
    if config.data.name != experiment.config.data.name:
        return False
    shared = sum(len(photos_seen([source], theirs, split)) for split in ours.values())
    return not knows_photos(source) or 2 * shared >= sum(len(split.photo_ids) for split in ours.values())


def _wanted(experiment: Experiment) -> dict[str, Any]:
    """What the encoders must be: whose, of which architecture, for which pixels and pictures."""
    config = experiment.config
    sections = {
        section: {k: v for k, v in dataclasses.asdict(getattr(config, section)).items() if k not in free}
        for section, free in FREE.items()
    }
    splits = {name: split.sha256 for name, split in _paired(experiment).items()}
    return json.loads(json.dumps({"init_from": config.init_from, **sections, "splits": splits}))


def _paired(experiment: Experiment) -> dict[str, Split]:
    """The splits of both stages; photos without sketches may join either, as none is in a test or validation split."""
    return {name: split for name, split in experiment.splits.items() if name != "unpaired"}


def _filled(wanted: dict[str, Any]) -> dict[str, Any]:
    """Give the fields that are newer than a record their defaults, which is what it was made with."""
    defaults = json.loads(json.dumps(Config().to_dict()))
    return wanted | {
        section: {k: v for k, v in defaults[section].items() if k not in free} | wanted[section]
        for section, free in FREE.items()
        if section in wanted
    }


def stage1_config(source: Run) -> Config:
    """Read the configuration of a stage-1 run.

    Raises:
        ConfigError: the folder holds no run, a run of stage 2, or one without a checkpoint.
    """
    if not source.config_file.is_file():
        raise ConfigError(
            f"init_from={source.folder} is not the folder of a run (it has no {source.config_file.name}); give a "
            "stage-1 run."
        )
    config = source.config
    if config.trsm.enabled:
        raise ConfigError(
            f"init_from={source.folder} is itself a run of stage 2; give the stage-1 run it was made from, "
            f"{config.init_from}"
        )
    if config.train.centring:
        raise ConfigError(_CENTRED.format(source.folder))
    if not source.steps():
        raise ConfigError(f"init_from={source.folder} has no checkpoint yet; train it first.")
    return config


def _check(source: Run, theirs: Config, experiment: Experiment) -> None:
    problems = []
    for section, free in FREE.items():
        old, new = (dataclasses.asdict(getattr(config, section)) for config in (theirs, experiment.config))
        problems += [
            f"{section}.{name}: {old[name]!r} there, {new[name]!r} here (--config.{section}.{name}=...)"
            for name in new
            if name not in free and old[name] != new[name]
        ]
    for name, split in _paired(experiment).items():
        if name not in source.splits or source.splits[name].sha256 != split.sha256:
            problems.append(f"the {name} split has other pictures than there")
    if problems:
        raise ConfigError(
            f"init_from={source.folder} does not fit this configuration:\n" + "\n".join(f"  {p}" for p in problems)
        )


def _load(source: Run, choice: str, experiment: Experiment) -> tuple[str, int, Params]:
    """Read the encoders of a checkpoint, of the best on validation say, or the last where nothing was held out."""
    with Checkpoints(source.checkpoints) as checkpoints:
        chosen = checkpoints.chosen(choice)
    if chosen is None:
        raise ConfigError(f"init_from={source.folder} has no checkpoint that is whole; train it first.")
    like = jax.eval_shape(experiment.model.init, jax.random.key(0))
    rule, step = chosen
    folder = source.checkpoints / str(step)
    inside = (evaluated_parameters(read_about(folder)), "model")
    return rule, step, read_tree(folder / STATE, inside, like, replicated(experiment.mesh))
