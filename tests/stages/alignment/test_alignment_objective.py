import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax import Preprocessing, make_functional
from effnet_jax.config import AugmentConfig, Config, LossConfig, ModelConfig
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective

CONFIG = Config(
    model=ModelConfig(
        width=24, depth=1, heads=3, image_size=32, embedding_size=8, weights="none", shared_encoders=True
    ),
    augment=AugmentConfig(max_angle=45.0),
)


def make(config):
    model = make_functional(config.model)
    objective = make_alignment_objective(config, model, Preprocessing(image_size=config.model.image_size))
    jitted = jax.jit(objective)

    def terms_of(params, rows, key):
        loss, (terms, batch_stats) = jitted(params, {}, rows, key)
        assert batch_stats == {}
        return loss, terms

    return terms_of, init_variables(model, config, jax.random.key(0)).params


def batch(b=4):
    rng = np.random.default_rng(0)
    rows = {
        f"{d}_{s}": jnp.asarray(rng.integers(0, 256, (b, s, s, 3), np.uint8))
        for d in ("sketch", "photo")
        for s in (32, 38)
    }
    return rows | {"photo_index": jnp.arange(b), "position": jnp.arange(b, dtype=jnp.uint32)}


def test_draws_follow_the_position_and_the_key():
    objective, params = make(CONFIG)
    key, rows = jax.random.key(1), batch()
    loss, terms = objective(params, rows, key)
    assert set(terms) == {"multi", "intra_sketch", "intra_photo", "inter", "temperature"}
    assert objective(params, rows, key)[0] == loss
    assert objective(params, rows, jax.random.key(2))[1]["intra_sketch"] != terms["intra_sketch"]
    later = objective(params, rows | {"position": rows["position"] + 4}, key)[1]
    assert later["intra_sketch"] != terms["intra_sketch"]
    np.testing.assert_allclose(later["multi"], terms["multi"], rtol=1e-5)  # the anchors are not augmented


def test_a_term_without_weight_costs_no_view():
    loss = LossConfig(intra_sketch=0.0, intra_photo=0.0)
    objective, params = make(dataclasses.replace(CONFIG, loss=loss))
    _, terms = objective(params, batch(), jax.random.key(1))
    assert set(terms) == {"multi", "inter", "temperature"}


def test_a_learned_temperature_has_a_gradient():
    loss = LossConfig(learn_temperature=True)
    objective, params = make(dataclasses.replace(CONFIG, loss=loss))
    assert np.isclose(np.exp(params["log_temperature"]), 0.07)
    gradient = jax.grad(lambda p: objective(p, batch(), jax.random.key(1))[0])(params)
    assert gradient["log_temperature"] != 0
