"""From nested mappings and command-line flags to a validated Config."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from effnet_jax.config import Config, ConfigError, Settings
from effnet_jax.config_rules import impossible


def from_mapping(values: Config | Settings) -> Config:
    """Build and validate a Config from nested mappings (a ConfigDict, parsed JSON); missing fields take their defaults.

    A Config is validated as if it were given field by field.

    Raises:
        ConfigError: unknown fields, wrong types, impossible combinations; all of them in one message.
    """
    problems: list[str] = []
    config = _build(Config, values.to_dict() if isinstance(values, Config) else values, "config", problems)
    if not problems:
        problems = impossible(config)
    if problems:
        raise ConfigError("The configuration cannot be run:\n" + "\n".join(f"  - {p}" for p in problems))
    return config


def from_stored(values: Mapping[str, Any]) -> Config:
    """Build a Config from what a run wrote down; fields that are newer than the run have what it ran with.

    Raises:
        ConfigError: as of `from_mapping`.
    """
    if isinstance(pen := values.get("pen"), dict):
        values = {**values, "pen": {"darkness": (1.0, 1.0), **pen}}  # lines were black
    return from_mapping(values)


def unknown_fields(flags: Sequence[str]) -> list[str]:
    """Say of each flag `--config.section.field=value` whose field does not exist which fields there are."""
    problems = []
    for flag in flags:
        if not flag.startswith(("--config.", "-config.")):
            continue
        node, path = Config, "config"
        for name in flag.partition("=")[0].split(".")[1:]:
            hints = typing.get_type_hints(node) if dataclasses.is_dataclass(node) else {}
            if name not in hints:
                problems.append(f"{path}.{name} does not exist; {path} has {', '.join(hints) or 'no fields'}")
                break
            node, path = hints[name], f"{path}.{name}"
    return problems


def _build(kind: type, values: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(values, Settings):
        problems.append(f"{path} must be a mapping of its fields to their values, but is {values!r}")
        return kind()
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            problems.append(f"{path}.{name} does not exist; {path} has {', '.join(sorted(fields))}")
    given = {}
    for name, field in fields.items():
        if name not in values:
            continue
        hint, value = hints[name], values[name]
        if dataclasses.is_dataclass(hint):
            given[name] = _build(typing.cast(type, hint), value, f"{path}.{name}", problems)
        else:
            given[name] = _convert(hint, value, f"{path}.{field.name}", problems)
    return kind() if problems else kind(**given)


def _convert(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Check one value against its annotation; ints are accepted for floats, lists for tuples."""
    if isinstance(hint, types.GenericAlias):
        inner = typing.get_args(hint)[0]
        if isinstance(value, list | tuple):
            return tuple(_convert(inner, v, f"{path}[{i}]", problems) for i, v in enumerate(value))
    elif typing.get_origin(hint) is typing.Literal:
        known = typing.get_args(hint)
        if not (isinstance(value, str) and value in known):
            problems.append(f"{path}={value!r} is not known; choose one of {', '.join(filter(None, known))}")
        return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            problems.append(f"{path} must be finite, but is {value!r}")
        return float(value)
    elif type(value) is hint:
        return value
    problems.append(f"{path} must be {getattr(hint, '__name__', hint)}, but is {value!r}")
    return value
