"""The stage-2 objective: what each switch means."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.config import Config, LossConfig, ModelConfig, TrsmConfig
from effnet_jax.losses import pair_cross_entropy
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.stages.trsm.trsm_objective import init_trsm_variables, make_trsm_objective, uses_augmented_view

CONFIG = Config(model=ModelConfig(width=8, embedding_size=6), trsm=TrsmConfig(heads=2, dropout=0.0))


def make_batch(b=5, n=4, groups=None):
    keys = jax.random.split(jax.random.key(0), 4)
    names = ("sketch_anchor", "photo_anchor", "sketch_augmented", "photo_augmented")
    tokens = {name: jax.random.normal(key, (b, n, 8)) for name, key in zip(names, keys, strict=True)}
    return tokens | {
        "photo_index": jnp.arange(b) if groups is None else jnp.asarray(groups),
        "position": jnp.arange(b, dtype=jnp.uint32),
    }


def run(config, batch, key=0):
    trsm = make_functional_trsm(config.model, config.trsm)
    params = init_trsm_variables(trsm, config, jax.random.key(1)).params
    loss, (terms, _) = make_trsm_objective(config, trsm)(params, {}, batch, jax.random.key(key))
    return loss, terms


def with_trsm(**changes):
    return dataclasses.replace(CONFIG, trsm=dataclasses.replace(CONFIG.trsm, **changes))


def softmax_terms(scores, temperature, excluded):
    """Cross-entropy of rows and columns in plain NumPy."""
    total = 0.0
    for matrix, out in ((scores, excluded), (scores.T, excluded.T)):
        for i, row in enumerate(matrix):
            kept = [row[j] / temperature for j in range(len(row)) if not out[i, j]]
            total += np.log(np.sum(np.exp(kept))) - row[i] / temperature
    return total / (2 * len(scores))


def test_pair_cross_entropy_against_numpy():
    rng = np.random.default_rng(0)
    scores, groups = rng.uniform(-1, 1, (4, 4)), np.array([3, 1, 3, 2])
    excluded = (groups[:, None] == groups[None, :]) & ~np.eye(4, dtype=bool)
    got = pair_cross_entropy(jnp.asarray(scores), 0.5, jnp.asarray(groups))
    np.testing.assert_allclose(got, softmax_terms(scores, 0.5, excluded), rtol=1e-5)
    got = pair_cross_entropy(jnp.asarray(scores), 0.5)
    np.testing.assert_allclose(got, softmax_terms(scores, 0.5, np.zeros((4, 4), bool)), rtol=1e-5)
    assert float(pair_cross_entropy(jnp.ones((1, 1)), 0.07)) == 0


def test_loss_terms_switch():
    batch = make_batch()
    (intended, terms), (published, same) = run(CONFIG, batch), run(with_trsm(loss_terms="published"), batch)
    assert {k: float(v) for k, v in terms.items()} == pytest.approx({k: float(v) for k, v in same.items()})
    once = terms["multi"] + terms["inter"] + terms["intra_photo"]
    np.testing.assert_allclose(intended, once + terms["intra_sketch"], rtol=1e-6)
    np.testing.assert_allclose(published, once + terms["intra_photo"], rtol=1e-6)


def test_all_pairs_scores_what_retrieval_scores():
    batch = make_batch(groups=[0, 1, 1, 2, 3])
    config = with_trsm(pairing="all_pairs")
    trsm = make_functional_trsm(config.model, config.trsm)
    params = init_trsm_variables(trsm, config, jax.random.key(1)).params
    _, (terms, _) = make_trsm_objective(config, trsm)(params, {}, batch, jax.random.key(0))
    scores = np.empty((5, 5))
    rows, columns = np.indices((5, 5)).reshape(2, -1)
    pair = trsm.call(TRSM.__call__)(params["trsm"], batch["photo_anchor"][columns], batch["sketch_anchor"][rows])
    for i, j, a, b in zip(rows, columns, *map(np.asarray, (pair.photo_embedding, pair.sketch_embedding)), strict=True):
        scores[i, j] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    excluded = np.zeros((5, 5), bool)
    excluded[1, 2] = excluded[2, 1] = True
    np.testing.assert_allclose(terms["multi"], softmax_terms(scores, 0.07, excluded), rtol=1e-3)
    _, matched = run(CONFIG, batch)
    for name in ("intra_sketch", "intra_photo"):  # those of the own pairs, in either pairing
        np.testing.assert_allclose(terms[name], matched[name], rtol=1e-4)


@pytest.mark.parametrize("pairing", ["matched", "all_pairs"])
def test_dropout_depends_on_key_and_position_alone(pairing):
    config, batch = with_trsm(pairing=pairing, dropout=0.3), make_batch()
    loss = float(run(config, batch)[0])
    assert loss == float(run(config, batch)[0])
    assert loss != float(run(config, batch, key=1)[0])
    assert loss != float(run(config, {**batch, "position": batch["position"] + 5})[0])


def test_augmented_views_are_asked_for_only_where_a_term_weighs():
    assert uses_augmented_view(CONFIG)
    alone = dataclasses.replace(CONFIG, loss=LossConfig(intra_sketch=0.0, intra_photo=0.0))
    assert not uses_augmented_view(alone)
    only_sketch = dataclasses.replace(alone, loss=LossConfig(intra_photo=0.0))
    assert uses_augmented_view(only_sketch)
    published = dataclasses.replace(only_sketch, trsm=dataclasses.replace(CONFIG.trsm, loss_terms="published"))
    assert not uses_augmented_view(published)  # it has no sketch term
    batch = {k: v for k, v in make_batch().items() if "augmented" not in k}
    total, terms = run(alone, batch)
    np.testing.assert_allclose(total, terms["multi"] + terms["inter"], rtol=1e-6)
