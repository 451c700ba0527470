"""Optimiser and learning-rate schedule from the configuration."""

from typing import Any

import jax
import optax

from effnet_jax.config import OptimConfig
from effnet_jax.training.rates import scale_by_place


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
    """Adam with L2 in the gradient (the paper's), or AdamW with decay of the matrices only.

    The paper's L2 term joins the gradient *before* Adam's scaling, for every parameter; decoupled decay is another
    optimiser. Clipping, where asked for, sees the gradient of the loss alone. `layer_decay` and `freeze` scale what a
    parameter would be changed by, its decay too.
    """
    adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
    rate: list[Any] = [optax.scale_by_learning_rate(make_schedule(config, total_steps))]
    if config.layer_decay != 1 or config.freeze:
        rate = [scale_by_place(config.layer_decay, config.freeze), *rate]
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adam":
        return optax.chain(*clip, optax.add_decayed_weights(config.weight_decay), adam, *rate)
    decay = optax.add_decayed_weights(config.weight_decay, mask=_matrices)
    return optax.chain(*clip, adam, decay, *rate)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim == 2, params)
