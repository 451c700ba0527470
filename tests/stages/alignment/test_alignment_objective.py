import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax import Preprocessing, make_functional
from effnet_jax.config import AugmentConfig, Config, ConfigError, LateConfig, LossConfig, ModelConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.encoders.encode_program import EncodeProgram
from effnet_jax.images.preprocessing import normalise
from effnet_jax.losses import pair_cross_entropy
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.alignment.alignment_objective import (
    init_variables,
    late_batch_scores,
    make_alignment_objective,
)
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer

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


LATE = dataclasses.replace(
    CONFIG,
    model=dataclasses.replace(CONFIG.model, image_size=64),
    loss=LossConfig(intra_sketch=0.0, intra_photo=0.0, late=2.0),
    late=LateConfig(window=1.0),
    augment=AugmentConfig(sketch_views=("a0", "a1"), photo_views=("a0", "a1"), fill=(255, 255, 255)),
)


def drawings(b=4):
    """Pictures of 64 pixels: sketches of one black box each, photos of noise."""
    rng = np.random.default_rng(0)
    sketches = np.full((b, 64, 64, 3), 255, np.uint8)
    for sketch in sketches:
        top, left = rng.integers(0, 40, 2)
        sketch[top : top + 20, left : left + 20] = 0
    photos = rng.integers(0, 256, (b, 64, 64, 3), np.uint8)
    return {"sketch_64": sketches, "photo_64": photos, "photo_index": np.array([0, 1, 1, 2][:b], np.int32),
            "position": np.arange(b, dtype=np.uint32)}  # fmt: skip


def test_the_late_term_contrasts_the_scores_of_the_protocol():
    rows = drawings()
    objective, params = make(LATE)
    loss, terms = objective(params, rows, jax.random.key(1))
    np.testing.assert_allclose(loss, terms["multi"] + terms["inter"] + 2 * terms["late"], rtol=1e-6)
    pixels, mesh = Preprocessing(image_size=64), make_mesh(1)
    program = EncodeProgram(LATE.model, pixels, mesh, tokens="float32")
    tokens = [
        np.asarray(program(params["model"]["encoder"], {}, jnp.asarray(rows[f"{d}_64"])).tokens)
        for d in ("sketch", "photo")
    ]
    scorer = LateScorer(LATE.model, LATE.late, mesh)
    ((_, scores),) = scorer.all_pairs(InkedTokens(tokens[0], rows["sketch_64"], 16, LATE.late.ink), tokens[1])
    expected = pair_cross_entropy(jnp.asarray(scores), LATE.loss.temperature, jnp.asarray(rows["photo_index"]))
    np.testing.assert_allclose(terms["late"], expected, rtol=1e-4)


def test_the_late_term_teaches_patches():
    rows, (objective, params) = drawings(), make(LATE)
    late = jax.jit(jax.value_and_grad(lambda p: objective(p, rows, jax.random.key(1))[1]["late"]))
    first, gradient = late(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    stepped = jax.tree.map(lambda p, g: p - 0.02 * g / max(1e-6, float(jnp.linalg.norm(g))), params, gradient)
    assert late(stepped)[0] < first


def test_ink_is_that_of_the_picture_as_it_was_scaled():
    scaled = Preprocessing(image_size=64, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    pictures = drawings()["sketch_64"]
    rng = np.random.default_rng(1)
    tokens = [rng.standard_normal((4, 17, 24)).astype(np.float32) for _ in range(2)]
    scores = [
        late_batch_scores(LATE, how, jnp.asarray(normalise(pictures, how)), *map(jnp.asarray, tokens))
        for how in (scaled, Preprocessing(image_size=64))
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"backbone": "resnet18"}}, r"loss\.late=1.0 compares the patches of a ViT"),
        ({"train": {"micro_batch_size": 8}}, r"train\.micro_batch_size=8 does not keep"),
        ({"trsm": {"enabled": True}, "init_from": "runs/x"}, r"loss\.late=1.0 is a term of stage 1"),
    ],
)
def test_where_the_late_term_cannot_be_it_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping({"loss": {"late": 1.0}, **changes})
    with pytest.raises(ConfigError, match=r"loss"):
        from_mapping({"loss": {"late": -1.0}})
