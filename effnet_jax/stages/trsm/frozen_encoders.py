"""The frozen encoders of stage 2: taken once from a stage-1 run, and kept in the folder of the stage-2 run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from effnet_jax.config import Config, ConfigError
from effnet_jax.config_reader import from_mapping
from effnet_jax.experiment import Experiment
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.saved import ON_VALIDATION, abstract, restore_tree, save_tree
from effnet_jax.runs.workdir import CHECKPOINTS, has_checkpoints, write_json
from effnet_jax.runtime.hosts import only_first, say_to_all
from effnet_jax.runtime.sharding import replicated
from effnet_jax.stages.alignment.alignment_objective import init_variables
from effnet_jax.stages.stage import fresh_state
from effnet_jax.storage.integrity import refuse_damaged, write_listing
from effnet_jax.training.step import Params

ENCODERS = "encoders"  # subfolder of a stage-2 run, and the JSON beside it
# How the encoders compute may differ; what they are, and what they saw, may not.
FREE = {
    "model": ("weights", "dtype", "precision", "attention", "remat"),
    "data": ("dir", "tfds_dir", "cache", "cache_dir", "workers"),
}


def frozen_encoders(experiment: Experiment) -> Params:
    """Give the encoders of a stage-2 run: from its own folder, or at first from the run that `init_from` names.

    Raises:
        ConfigError: no such stage-1 run, no checkpoint, another model, another preprocessing or other photos; or the
            run's own copy is not what its configuration says.
    """
    folder = experiment.workdir / ENCODERS
    record, wanted = folder.with_suffix(".json"), _wanted(experiment)
    like = jax.eval_shape(experiment.model.init, jax.random.key(0))
    like = abstract(like, replicated(experiment.mesh))

    def needed() -> str:
        theirs = json.loads(record.read_text()) if record.exists() else {}
        if _filled(theirs.get("wanted", {})) == wanted:  # the record comes last, so an unfinished copy has none
            refuse_damaged(folder, f"{folder} is damaged; restore it, or start again in another --workdir", ConfigError)
            return ""
        if has_checkpoints(experiment.workdir):
            raise ConfigError(
                f"{folder} holds other encoders than this run was trained with (see {record}); use another --workdir."
            )
        return "needed"

    if say_to_all("opening the encoders", needed):
        source = Path(experiment.config.init_from).expanduser().absolute()
        config = stage1_config(source)
        _check(source, config, experiment)
        step, params = _load(source, config, experiment)
        save_tree(folder, params)
        about = {"init_from": str(source), "step": step, "wanted": wanted}

        def finish() -> None:
            write_listing(folder)
            write_json(record, about)

        only_first("saving the encoders", finish)
    return restore_tree(folder, like)


def _wanted(experiment: Experiment) -> dict[str, Any]:
    """What the encoders must be: whose, of which architecture, for which pixels and pictures."""
    config = experiment.config
    sections = {
        section: {k: v for k, v in dataclasses.asdict(getattr(config, section)).items() if k not in free}
        for section, free in FREE.items()
    }
    splits = {name: split.sha256 for name, split in experiment.splits.items()}
    return json.loads(json.dumps({"init_from": config.init_from, **sections, "splits": splits}))


def _filled(wanted: dict[str, Any]) -> dict[str, Any]:
    """Give the fields that are newer than a record their defaults, which is what it was made with."""
    defaults = json.loads(json.dumps(Config().to_dict()))
    return wanted | {
        section: {k: v for k, v in defaults[section].items() if k not in free} | wanted[section]
        for section, free in FREE.items()
        if section in wanted
    }


def stage1_config(source: Path) -> Config:
    """Read the configuration of a stage-1 run.

    Raises:
        ConfigError: the folder holds no run, a run of stage 2, or one without a checkpoint.
    """
    path = source / "config.json"
    if not path.is_file():
        raise ConfigError(f"init_from={source} is not the folder of a run (it has no config.json); give a stage-1 run.")
    try:
        config = from_mapping(json.loads(path.read_text()))
    except ConfigError as error:
        raise ConfigError(f"{path} is of another version of effnet_jax: {error}") from error
    if config.trsm.enabled:
        raise ConfigError(
            f"init_from={source} is itself a run of stage 2; give the stage-1 run it was made from, {config.init_from}"
        )
    if not has_checkpoints(source):
        raise ConfigError(f"init_from={source} has no checkpoint yet; train it first.")
    return config


def _check(source: Path, theirs: Config, experiment: Experiment) -> None:
    problems = []
    for section, free in FREE.items():
        old, new = (dataclasses.asdict(getattr(config, section)) for config in (theirs, experiment.config))
        problems += [
            f"{section}.{name}: {old[name]!r} there, {new[name]!r} here (--config.{section}.{name}=...)"
            for name in new
            if name not in free and old[name] != new[name]
        ]
    splits = json.loads((source / "split.json").read_text())
    for name, split in experiment.splits.items():
        if name not in splits or splits[name]["sha256"] != split.sha256:
            problems.append(f"the {name} split has other pictures than there")
    if problems:
        raise ConfigError(
            f"init_from={source} does not fit this configuration:\n" + "\n".join(f"  {p}" for p in problems)
        )


def _load(source: Path, config: Config, experiment: Experiment) -> tuple[int, Params]:
    """Restore the encoders of the best checkpoint on validation, or the last where nothing was held out."""
    best_by = (ON_VALIDATION,) if config.data.validation_share else ()
    with Checkpoints(source / CHECKPOINTS, keep=config.train.keep_checkpoints, best_by=best_by) as checkpoints:
        step = checkpoints.best(ON_VALIDATION) if best_by else None
        step = checkpoints.latest() if step is None else step
        if step is None:
            raise ConfigError(f"init_from={source} has no checkpoint yet; train it first.")

        def start(key: jax.Array) -> Any:
            return fresh_state(config, lambda k: init_variables(experiment.model, config, k), 10**9, key)

        like = abstract(jax.eval_shape(start, jax.random.key(0)), replicated(experiment.mesh))
        return step, checkpoints.restore(step, like).params["model"]
