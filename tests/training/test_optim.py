import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.config import OptimConfig
from effnet_jax.training.optim import make_optimizer, make_schedule

PARAMS = {"kernel": jnp.full((2, 2), 10.0), "bias": jnp.full((2,), 10.0)}
ZERO = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros((2,))}


def first_update(config, gradient):
    optimizer = make_optimizer(config, 10)
    return optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)[0]


def test_paper_adam_scales_the_l2_term_with_the_gradient():
    update = first_update(OptimConfig(learning_rate=0.1), ZERO)
    np.testing.assert_allclose(update["kernel"], -0.1, rtol=1e-4)  # a lone L2 gradient is normalised to one step
    np.testing.assert_allclose(update["bias"], -0.1, rtol=1e-4)


def test_adamw_decays_matrices_only_and_in_proportion():
    update = first_update(OptimConfig(name="adamw", learning_rate=0.1, weight_decay=0.05), ZERO)
    np.testing.assert_allclose(update["kernel"], -0.1 * 0.05 * 10, rtol=1e-5)
    np.testing.assert_allclose(update["bias"], 0.0)


def test_clipping_bounds_the_gradient_of_the_loss_not_the_decay():
    huge = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.zeros((2,))}
    optimizer = make_optimizer(OptimConfig(clip_norm=1.0, weight_decay=0.0, eps=1.0, learning_rate=1.0), 10)
    update = optimizer.update(huge, optimizer.init(PARAMS), PARAMS)[0]
    np.testing.assert_allclose(update["kernel"], -0.5 / (0.5 + 1.0), rtol=1e-4)


def test_schedules():
    constant = make_schedule(OptimConfig(learning_rate=2.0), 100)
    assert constant(0) == constant(99) == 2.0
    warm = make_schedule(OptimConfig(learning_rate=2.0, schedule="cosine", warmup_steps=10), 110)
    np.testing.assert_allclose([warm(0), warm(5), warm(10), warm(60), warm(110)], [0, 1, 2, 1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="warmup_steps=10 is not below the 10 steps"):
        make_schedule(OptimConfig(warmup_steps=10), 10)
