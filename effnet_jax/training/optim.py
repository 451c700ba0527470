"""Optimiser and learning-rate schedule from the configuration."""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from effnet_jax.config import OptimConfig
from effnet_jax.training.rates import scale_by_place

_KERNEL = "kernel"  # what linear layers and convolutions call their weights; the last axis is their output
_SAME_SIZE = 0.2  # root mean square of an orthogonal update, about that of Adam's
_ITERATIONS = 3  # of Newton and Schulz; with 5 the demo takes a tenth longer and is no better


def make_schedule(config: OptimConfig, total_steps: int) -> optax.Schedule:
    """Linear warm-up from zero, then constant or a cosine to zero at `total_steps`.

    Raises:
        ValueError: the warm-up is longer than the run.
    """
    if config.warmup_steps and config.warmup_steps >= total_steps:
        raise ValueError(
            f"optim.warmup_steps={config.warmup_steps} is not below the {total_steps} steps of the run; "
            "shorten the warm-up or train longer."
        )
    rest = total_steps - config.warmup_steps
    after = (
        optax.constant_schedule(config.learning_rate)
        if config.schedule == "constant"
        else optax.cosine_decay_schedule(config.learning_rate, rest)
    )
    if not config.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(config: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """Adam with L2 in the gradient (the paper's), AdamW, or Muon.

    AdamW decays the matrices only, apart from their gradient; Muon decays what it moves, at its own rate.

    The paper's L2 term joins the gradient *before* Adam's scaling, for every parameter; decoupled decay is another
    optimiser. Muon makes the updates of linear layers and convolutions orthogonal matrices, and leaves the rest to
    Adam with Nesterov's momentum. Clipping, where asked for, sees the gradient of the loss alone. `layer_decay` and
    `freeze` scale what a parameter would be changed by, its decay too.

    Source: Muon by Jordan et al. (2024), in the size of Liu et al. (arXiv 2502.16982); optax has both.
    """
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    placed = config.layer_decay != 1 or bool(config.freeze)
    place = [scale_by_place(config.layer_decay, config.freeze)] if placed else []
    schedule = make_schedule(config, total_steps)
    if config.name == "muon":
        return optax.chain(*clip, _muon(config, schedule), *place)
    adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
    rate = [*place, optax.scale_by_learning_rate(schedule)]
    if config.name == "adam":
        return optax.chain(*clip, optax.add_decayed_weights(config.weight_decay), adam, *rate)
    decay = optax.add_decayed_weights(config.weight_decay, mask=_matrices)
    return optax.chain(*clip, adam, decay, *rate)


def _muon(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return muon(
        lambda step: config.kernel_rate * schedule(step),
        ns_steps=_ITERATIONS,
        eps=config.eps,
        weight_decay=config.weight_decay,
        adam_b1=config.b1,
        adam_b2=config.b2,
        adam_learning_rate=schedule,
        muon_weight_dimension_numbers=_kernels,
        consistent_rms=_SAME_SIZE,
    )


def _kernels(params: Any) -> Any:
    """Say how each kernel is a matrix; None: no matrix, so Adam's, as are the kernels of depthwise convolutions."""

    def as_matrix(path: tuple[Any, ...], leaf: Any) -> MuonDimensionNumbers | None:
        if path[-1].key != _KERNEL or leaf.ndim not in (2, 4):
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(as_matrix, params)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim == 2, params)
