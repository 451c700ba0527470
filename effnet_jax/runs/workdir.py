"""The folder of a run: what it was started with, and the refusal to mix two runs in one folder."""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from effnet_jax.config import Config, ConfigError
from effnet_jax.config_reader import from_mapping
from effnet_jax.storage.files import held, replacing

# These say where and how, not what: a run may be resumed with others. The split hash guards the data itself.
FREE_SECTIONS = ("log", "parallel")
FREE_FIELDS = (
    "data.dir", "data.tfds_dir", "data.cache", "data.cache_dir", "data.workers", "model.attention", "model.remat",
    "loss.block_pairs", "trsm.cache_tokens", "train.micro_batch_size", "train.checkpoint_every_steps",
    "train.keep_checkpoints", "train.log_every_steps",
)  # fmt: skip
CHECKPOINTS = "checkpoints"  # subfolder of a run
LOCK = ".training"  # held while a training writes into the folder
PACKAGES = ("effnet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "pillow")


@contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Keep the folder for this process until the block ends, so that no second training writes into it.

    Where the system or the storage has no locks, nothing is refused.

    Raises:
        ConfigError: a training holds it; the message names the process.
    """
    _make_folder(workdir)

    def refuse(holder: str) -> ConfigError:
        return ConfigError(
            f"another training writes into {workdir} ({holder}); wait for it, stop it, or use another --workdir."
        )

    with held(workdir / LOCK, refuse=refuse):
        yield


def open_workdir(workdir: Path, config: Config, *, free_sections: tuple[str, ...] = FREE_SECTIONS) -> None:
    """Make the folder and write the configuration and versions, or check that it belongs to this configuration.

    A folder without a checkpoint holds nothing to protect: a start that failed may be repeated with other settings.

    Raises:
        ConfigError: the folder holds a run of another configuration; the message shows every difference.
    """
    path = workdir / "config.json"
    ours = json.loads(json.dumps(config.to_dict()))
    if path.exists() and has_checkpoints(workdir):
        differences = _differences(with_new_fields(json.loads(path.read_text())), ours, free_sections)
        if differences:
            raise ConfigError(
                f"{workdir} holds a run of another configuration; use another --workdir, or the same settings:\n"
                + "\n".join(f"  {name}: {old!r} there, {new!r} now" for name, old, new in differences)
            )
        return
    _make_folder(workdir)
    write_json(workdir / "versions.json", versions())
    write_json(path, ours)


def record_splits(workdir: Path, splits: Mapping[str, Any]) -> None:
    """Write which photos are in which split, or check that the data are still those of the run.

    Args:
        workdir: folder of the run.
        splits: name -> effnet_jax.data.split.Split.

    Raises:
        ConfigError: the files of a split changed since the run was started.
    """
    path = workdir / "split.json"
    ours = {
        name: {
            "sha256": split.sha256,
            "sketches": len(split.sketch_ids),
            "photos": len(split.photo_ids),
            "photo_ids": list(split.photo_ids),
        }
        for name, split in splits.items()
    }
    if not (path.exists() and has_checkpoints(workdir)):
        write_json(path, ours)
        return
    theirs = json.loads(path.read_text())
    changed = [name for name in ours if name in theirs and ours[name]["sha256"] != theirs[name]["sha256"]]
    if changed:
        raise ConfigError(
            f"the data changed since the run in {workdir} was started (split {', '.join(changed)}: "
            + "; ".join(f"{theirs[n]['sketches']} sketches then, {ours[n]['sketches']} now" for n in changed)
            + "); restore the files, or use another --workdir."
        )


def has_checkpoints(workdir: Path) -> bool:
    """Tell whether a run in this folder has saved anything."""
    return any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("[0-9]*"))  # others are unfinished saves


def versions() -> dict[str, Any]:
    """Tell which Python, packages and devices a run uses."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    devices = [device.device_kind for device in jax.devices()]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": found,
        "backend": jax.default_backend(),
        "devices": devices,
        "hosts": jax.process_count(),
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def _make_folder(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file; give a folder.")
    workdir.mkdir(parents=True, exist_ok=True)


def with_new_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Give the fields that are newer than a stored configuration their defaults, which is what it ran with.

    One that cannot be read, such as that of a newer version, is given back as it is.
    """
    try:
        return json.loads(json.dumps(from_mapping(config).to_dict()))
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
