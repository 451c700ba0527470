"""Lay the tensors of a file into our parameters, refusing anything that does not fit."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from effnet_jax.models.trees import Path, Tree, flatten, nest
from effnet_jax.models.vit import resize_position_embeddings
from effnet_jax.weights.errors import WeightsError, listing, shown
from effnet_jax.weights.names.targets import BACK, LAYOUTS, Table, Target, to_ours


def lay(
    tensors: Mapping[str, np.ndarray],
    table: Table,
    params: Tree,
    batch_stats: Tree,
    *,
    source: str,
    ignored: Callable[[str], bool] = lambda name: False,
) -> tuple[Tree, Tree]:
    """Lay tensors into the parameters and batch statistics of one module.

    Args:
        tensors: by the names of the source.
        table: what each name becomes.
        params: parameters of the module, or their shapes, to check against.
        batch_stats: likewise.
        source: file and architecture, for the message.
        ignored: names that the source has and we do not need, such as its classifier.

    Returns:
        Nested dicts of float32 NumPy arrays; position embeddings interpolated where the grid of patches differs.

    Raises:
        WeightsError: missing, unexpected, misshapen and not finite tensors, all in one message.
    """
    wanted = {False: flatten(params), True: flatten(batch_stats)}
    problems = [f"missing: {name}" for name in table if name not in tensors]
    problems += [f"unexpected: {shown(name)}" for name in tensors if name not in table and not ignored(name)]
    got: dict[bool, dict[Path, Any]] = {False: {}, True: {}}
    parts: dict[Path, dict[int, np.ndarray]] = {}
    for name, target in table.items():
        if name not in tensors:
            continue
        like = wanted[target.statistic].get(target.path)
        if like is None:
            problems.append(f"unexpected: {name} (the model has no {'.'.join(map(str, target.path))})")
            continue
        value, problem = _convert(name, tensors[name], target, like.shape)
        if problem:
            problems.append(problem)
        elif target.part is None:
            got[target.statistic][target.path] = value
        else:
            parts.setdefault(target.path, {})[target.part] = value
    for path, thirds in parts.items():
        if len(thirds) == 3:
            got[False][path] = np.concatenate([thirds[i] for i in range(3)], axis=-1)
    covered = {target.path for target in table.values()}
    problems += [f"not in the file: our {'.'.join(map(str, p))}" for p in wanted[False] if p not in covered]
    if problems:
        raise WeightsError(f"{source} does not fit:\n{listing(problems)}")
    return nest(got[False]), nest(got[True])


def _convert(name: str, tensor: np.ndarray, target: Target, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Convert one tensor; the second value says what is wrong with it, or is empty."""
    axes = LAYOUTS[target.layout][0]
    wanted = (*shape[:-1], shape[-1] // 3) if target.part is not None else shape
    misshapen = f"misshapen: {name} is {tensor.shape}, the model needs {_in_file(wanted, target.layout)}"
    if tensor.dtype.kind != "f":
        return tensor, f"not floating point: {name} holds {tensor.dtype} (quantised weights are not read)"
    if (axes is not None and tensor.ndim != axes) or tensor.ndim < len(shape) or 0 in tensor.shape:
        return tensor, misshapen
    if target.layout == "depthwise" and tensor.shape[1] != 1:
        return tensor, misshapen
    value = to_ours(tensor, target.layout)
    if target.layout == "positions" and value.shape != wanted and value.shape[1] > 1:
        grid = round((shape[1] - 1) ** 0.5)
        if round((value.shape[1] - 1) ** 0.5) ** 2 == value.shape[1] - 1:
            value = np.asarray(resize_position_embeddings(jnp.asarray(value), grid, 1))
    if value.shape != wanted:
        return value, misshapen
    if not np.isfinite(value).all():
        return value, f"not finite: {name}"
    return value, ""


def _in_file(shape: tuple[int, ...], layout: str) -> str:
    """Write a shape of ours as the file would have it."""
    if layout in BACK:
        return str(BACK[layout](np.broadcast_to(np.float32(0), shape)).shape)
    inputs, outputs = str(shape[0]), str(shape[-1])  # flax divides one of them into more axes
    return {"rows": f"({inputs} divided, {outputs})", "columns": f"({inputs}, {outputs} divided)"}.get(
        layout, f"{outputs} numbers"
    )
