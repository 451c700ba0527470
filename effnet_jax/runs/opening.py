"""Opening the folder of a run to train in it: claimed, of the same configuration and data, and of nobody else."""

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from effnet_jax.config import Config, ConfigError
from effnet_jax.config_reader import from_stored
from effnet_jax.runs.folder import Run, short_hash
from effnet_jax.runs.results import read_json
from effnet_jax.runtime.versions import versions
from effnet_jax.storage.files import held, write_json

# These say where and how, not what: a run may be resumed with others. The split hash guards the data itself.
FREE_SECTIONS = ("log", "parallel")
FREE_FIELDS = (
    "data.dir", "data.unpaired_photos", "data.tfds_dir", "data.cache", "data.cache_dir", "data.workers",
    "model.attention", "model.remat",
    "loss.block_pairs", "trsm.cache_tokens", "train.micro_batch_size", "train.checkpoint_every_steps",
    "train.keep_checkpoints", "train.log_every_steps",
)  # fmt: skip
UNPAIRED = "unpaired"  # name of the split of photos without sketches
SECTIONS = ("data", "model", "loss", "optim", "train")  # every config.json of ours had these from the first on


@contextlib.contextmanager
def claimed(run: Run) -> Iterator[None]:
    """Keep the folder for this process until the block ends, so that no second training writes into it.

    Where the system or the storage has no locks, nothing is refused.

    Raises:
        ConfigError: a training holds it, and the message names the process; or the folder is another program's.
    """
    refuse_foreign(run)
    run.folder.mkdir(parents=True, exist_ok=True)

    def refuse(holder: str) -> ConfigError:
        return ConfigError(
            f"another training writes into {run.folder} ({holder}); wait for it, stop it, or use another --workdir."
        )

    with held(run.lock_file, refuse=refuse):
        yield


def refuse_foreign(run: Run) -> None:
    """Refuse a folder whose config.json or metrics.json another program wrote, and which we would write over.

    Raises:
        ConfigError: it is one, or a file.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise ConfigError(f"--workdir={run.folder} is a file; give a folder.")
    for path, is_ours in ((run.config_file, _is_config), (run.metrics_file, _is_report)):
        if not path.exists():
            continue
        try:
            ours = is_ours(read_json(path))
        except ValueError:  # damaged: what lies beside our configuration is ours
            ours = path != run.config_file and run.config_file.exists()
        if not ours:
            raise ConfigError(
                f"{path} is not of effnet_jax, or damaged, and would be lost; use another --workdir, or move it away."
            )


def _is_config(content: Mapping[str, Any]) -> bool:
    return all(isinstance(content.get(section), dict) for section in SECTIONS)


def _is_report(content: Mapping[str, Any]) -> bool:
    results, known = content.get("results"), {"dataset", "queries"}
    ours = isinstance(results, list) and bool(results)
    return ours and all(isinstance(result, dict) and known <= result.keys() for result in results)


def open_run(run: Run, config: Config, *, free_sections: tuple[str, ...] = FREE_SECTIONS) -> None:
    """Make the folder and write the configuration and versions, or check that it belongs to this configuration.

    A folder without a checkpoint holds nothing to protect: a start that failed may be repeated with other settings.

    Raises:
        ConfigError: the folder holds a run of another configuration, and the message shows every difference; or it is
            another program's.
    """
    refuse_foreign(run)
    ours = _plain(config)
    if run.config_file.exists() and run.steps():
        differences = _differences(_with_new_fields(read_json(run.config_file)), ours, free_sections)
        if differences:
            raise ConfigError(
                f"{run.folder} holds a run of another configuration; use another --workdir, or the same settings:\n"
                + "\n".join(f"  {name}: {old!r} there, {new!r} now" for name, old, new in differences)
            )
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    if not config.init_from:
        run.start_file.unlink(missing_ok=True)  # of an earlier start
    write_json(run.versions_file, versions())
    write_json(run.config_file, ours)


def record_splits(run: Run, splits: Mapping[str, Any], *, trains: bool = True) -> None:
    """Write which photos are in which split, or check that the data are still those of the run.

    Args:
        run: its folder.
        splits: name -> effnet_jax.data.split.Split.
        trains: the run goes on training, for which photos without sketches must be there as before, too.

    Raises:
        ConfigError: the files of a split changed since the run was started.
    """
    ours = {
        name: {
            "sha256": split.sha256,
            "sketches": len(split.sketch_ids),
            "photos": len(split.photo_ids),
            "photo_ids": list(split.photo_ids),
            "photo_sha256": [short_hash(sha256) for sha256 in split.photo_sha256],
        }
        for name, split in splits.items()
    }
    if not (run.splits_file.exists() and run.steps()):
        write_json(run.splits_file, ours)
        return
    theirs = run.splits
    if trains and (UNPAIRED in ours) != (UNPAIRED in theirs):
        began, now = ("with", "without") if UNPAIRED in theirs else ("without", "with")
        raise ConfigError(
            f"the run in {run.folder} began {began} photos without sketches, and would go on {now} them; give the same "
            "data.unpaired_photos, or use another --workdir."
        )
    changed = [name for name in ours if name in theirs and ours[name]["sha256"] != theirs[name].sha256]
    if changed:
        raise ConfigError(
            f"the data changed since the run in {run.folder} was started (split {', '.join(changed)}: "
            + "; ".join(f"{theirs[n].sketches} sketches then, {ours[n]['sketches']} now" for n in changed)
            + "); restore the files, or use another --workdir."
        )


def settings_of(run: Run) -> dict[str, Any] | None:
    """The configuration without what may differ between seeds of one: seed, places, logs. None where there is none."""
    try:
        settings = without(_with_new_fields(read_json(run.config_file)), (*FREE_SECTIONS, *FREE_FIELDS, "train.seed"))
    except ValueError:
        return None
    with contextlib.suppress(ValueError):  # whatever the place, these photos decide what is learned
        if UNPAIRED in run.splits:
            settings[UNPAIRED] = run.splits[UNPAIRED].sha256
    return settings


def without(settings: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Leave out sections and fields, by their dotted names.

    Example:
        >>> without({"data": {"dir": "x", "name": "folder"}, "log": {}}, ["data.dir", "log"])
        {'data': {'name': 'folder'}}
    """
    less = copy.deepcopy(settings)
    for field in fields:
        *sections, last = field.split(".")
        inside = less
        for section in sections:
            inside = inside.get(section, {})
        inside.pop(last, None)
    return less


def _plain(config: Config) -> dict[str, Any]:
    return json.loads(json.dumps(config.to_dict()))


def _with_new_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Give the fields that are newer than a stored configuration their defaults, which is what it ran with.

    One that cannot be read, such as that of a newer version, is given back as it is.
    """
    try:
        return _plain(from_stored(config))
    except ConfigError:
        return config


def _differences(old: Any, new: Any, free_sections: tuple[str, ...], name: str = "") -> list[tuple[str, Any, Any]]:
    if name in free_sections or name in FREE_FIELDS:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        prefix = f"{name}." if name else ""
        return [d for k in keys for d in _differences(old.get(k), new.get(k), free_sections, f"{prefix}{k}")]
    return [] if old == new else [(name, old, new)]
