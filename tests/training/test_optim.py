import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.config import ConfigError, OptimConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.models.trees import flatten
from effnet_jax.training.optim import make_optimizer, make_schedule
from effnet_jax.training.rates import rate_factors

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


def test_muon_turns_every_kernel_by_an_orthogonal_matrix():
    """Whatever the gradient's size; what is no kernel is Adam's."""
    draw = np.random.default_rng(0).normal
    params = {
        "conv": {"kernel": jnp.zeros((3, 3, 8, 48))},
        "norm": {"scale": jnp.ones(4)},
        "cls_token": jnp.ones((2, 4)),
        "depthwise": {"kernel": jnp.ones((3, 3, 8))},
    }
    gradient = jax.tree.map(lambda p: jnp.asarray(1e-3 * draw(size=p.shape), jnp.float32), params)
    config = OptimConfig(name="muon", learning_rate=0.1, kernel_rate=10.0, weight_decay=0.0)
    optimizer = make_optimizer(config, 10)
    update = optimizer.update(gradient, optimizer.init(params), params)[0]
    stretched = np.linalg.svd(np.asarray(update["conv"]["kernel"]).reshape(72, 48), compute_uv=False)
    assert 0.4 < stretched.min() / (0.2 * 72**0.5) < stretched.max() / (0.2 * 72**0.5) < 1.4
    for name, leaf in (("norm", "scale"), ("cls_token", None), ("depthwise", "kernel")):
        moved, by = (tree[name][leaf] if leaf else tree[name] for tree in (update, gradient))
        np.testing.assert_allclose(moved / np.abs(moved).max(), -np.sign(by), rtol=1e-3)


def test_muon_decays_kernels_only():
    update = first_update(OptimConfig(name="muon", learning_rate=0.1, kernel_rate=4.0, weight_decay=0.05), ZERO)
    np.testing.assert_allclose(update["kernel"], -4 * 0.1 * 0.05 * 10, rtol=1e-5)
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


VIT = {
    "model": {
        "encoder": {
            "backbone": {
                "cls_token": jnp.ones((1,)),
                "patch_embed": {"kernel": jnp.ones((2, 2))},
                "blocks": {i: {"mlp": {"kernel": jnp.ones((2, 2))}} for i in range(3)},
                "norm": {"scale": jnp.ones((2,))},
            },
            "head": {"kernel": jnp.ones((2, 2))},
        }
    },
    "log_temperature": jnp.ones(()),
}


def named(tree):
    return {".".join(map(str, path)).removeprefix("model.encoder."): x for path, x in flatten(tree).items()}


def test_earlier_layers_learn_more_slowly():
    assert named(rate_factors(VIT, 0.5)) == {
        "backbone.cls_token": 1 / 16, "backbone.patch_embed.kernel": 1 / 16, "backbone.blocks.0.mlp.kernel": 1 / 8,
        "backbone.blocks.1.mlp.kernel": 1 / 4, "backbone.blocks.2.mlp.kernel": 1 / 2, "backbone.norm.scale": 1,
        "head.kernel": 1, "log_temperature": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_updates_are_those_of_one_rate_times_the_factors(name):
    gradient = jax.tree.map(lambda x: 3 * x, VIT)
    plain, placed = (
        make_optimizer(OptimConfig(name=name, learning_rate=0.1, layer_decay=decay, freeze=freeze), 10)
        for decay, freeze in ((1.0, ()), (0.7, ("encoder.backbone.blocks.[01].*", "log_temperature")))
    )
    expected = named(plain.update(gradient, plain.init(VIT), VIT)[0])
    factors = named(rate_factors(VIT, 0.7, ("encoder.backbone.blocks.[01].*", "log_temperature")))
    for key, update in named(placed.update(gradient, placed.init(VIT), VIT)[0]).items():
        np.testing.assert_allclose(update, factors[key] * expected[key], rtol=1e-6)
    assert factors["backbone.blocks.0.mlp.kernel"] == factors["log_temperature"] == 0 < factors["head.kernel"]


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(
        ConfigError, match=r"no parameter is named like encoder\.backbone\.layers\.\*; there are encoder"
    ):
        rate_factors(VIT, 1.0, ["encoder.head.*", "encoder.backbone.layers.*"])


def test_other_backbones_can_be_frozen_by_name():
    params = {"encoder": {"backbone": {"blocks": {"Mixed_5b": {"kernel": 1.0}}}, "head": {"kernel": 1.0}}}
    factors = rate_factors(params, 1.0, ["encoder.backbone.*"])["encoder"]
    assert factors == {"backbone": {"blocks": {"Mixed_5b": {"kernel": 0.0}}}, "head": {"kernel": 1.0}}


def test_one_rate_leaves_the_state_as_it_was():
    """Checkpoints of before fit."""
    before = make_optimizer(OptimConfig(), 10).init(PARAMS)
    assert len(jax.tree.leaves(before)) == len(
        jax.tree.leaves(make_optimizer(OptimConfig(layer_decay=0.9), 10).init(PARAMS))
    )


@pytest.mark.parametrize(
    "changes", [{"optim": {"layer_decay": 0.0}}, {"optim": {"layer_decay": 0.7}, "model": {"backbone": "resnet18"}}]
)
def test_a_decay_that_cannot_be_is_refused(changes):
    with pytest.raises(ConfigError, match=r"optim\.layer_decay"):
        from_mapping(changes)
