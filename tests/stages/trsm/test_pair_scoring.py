"""The factorised scorer gives the module's own cosines, whatever the sizes, the blocks and the order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.config import ModelConfig, TrsmConfig
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages import block_scorer
from effnet_jax.stages.trsm.pair_scoring import PairScorer, fold_matrices, fold_photos, fold_sketches, pair_scores
from effnet_jax.stages.trsm.published_protocol import paired_scores

WIDTH, HEADS, Z, N = 8, 2, 6, 5
TRSM_ = make_functional_trsm(ModelConfig(width=WIDTH, embedding_size=Z, precision="highest"), TrsmConfig(heads=HEADS))


def random_params(init, seed, dtype=jnp.float32):
    leaves, tree = jax.tree.flatten(init(jax.random.key(seed)))
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(0, x.shape[0] ** -0.5, x.shape), dtype) for x in leaves])


def random_tokens(seed, count, n=N, width=WIDTH):
    return np.random.default_rng(seed).normal(size=(count, n, width)).astype(np.float32)


def plain_scores(trsm, params, sketches, photos):
    """Every pair through the module's full streams, one after the other."""

    @jax.jit
    def both(params, photo, sketch):
        def embed(module):
            streams = module.streams(photo, sketch)
            return module.photo_head(streams.photo[:, 0])[0], module.sketch_head(streams.sketch[:, 0])[0]

        return trsm.call(embed)(params)

    cosines = np.empty((len(sketches), len(photos)))
    for i, sketch in enumerate(sketches):
        for j, photo in enumerate(photos):
            a, b = (np.asarray(x, np.float64) for x in both(params, photo[None], sketch[None]))
            cosines[i, j] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return cosines


def factorised(module, sketches, photos):
    return pair_scores(fold_photos(module, photos), fold_sketches(module, sketches), fold_matrices(module))


@pytest.mark.parametrize(("s", "g", "n", "heads", "width"), [(3, 2, 5, 2, 32), (1, 4, 1, 1, 16), (2, 3, 7, 4, 64)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)], ids=str
)
def test_factorised_equals_plain_for_random_weights(dtype, tolerance, s, g, n, heads, width):
    with jax.enable_x64(dtype == jnp.float64):

        def build():
            return TRSM(width, heads=heads, embedding_size=32, dtype=dtype, rngs=nnx.Rngs(params=jax.random.key(0)))

        graphdef, state = nnx.split(build(), nnx.Param)
        initial = nnx.to_pure_dict(state)

        @jax.jit
        def compare(params, sketches, photos):
            module = nnx.merge(graphdef, params)
            got = factorised(module, sketches, photos)
            rows, columns = jnp.indices((s, g)).reshape(2, -1)
            streams = module.streams(photos[columns], sketches[rows])
            a, b = module.photo_head(streams.photo[:, 0]), module.sketch_head(streams.sketch[:, 0])
            cosine = jnp.sum(a * b, axis=1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1)
            return got, cosine.reshape(s, g)

        @settings(max_examples=20, deadline=None)
        @given(st.integers(0, 10_000))
        def check(seed):
            params = random_params(lambda _: initial, seed, jnp.promote_types(dtype, jnp.float32))
            sketches, photos = (jnp.asarray(random_tokens(seed + i, c, n, width), dtype) for i, c in ((1, s), (2, g)))
            got, want = compare(params, sketches, photos)
            assert got.dtype == jnp.promote_types(dtype, jnp.float32)
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)

        check()


@pytest.fixture(scope="module")
def world():
    params = random_params(TRSM_.init, 0)
    sketches, photos = random_tokens(1, 7), random_tokens(2, 9)
    return params, sketches, photos, plain_scores(TRSM_, params, sketches, photos)


def gather(scorer, sketches, photos):
    return np.concatenate([scores for _, scores in scorer.all_pairs(sketches, photos)])


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([(1, 1, 1), (4, 3, 6), (64, 32, 512)]), st.randoms(use_true_random=False))
def test_blocks_and_order_do_not_matter(world, blocks, random):
    photo_block, sketch_block, sketch_group = blocks
    params, sketches, photos, wanted = world
    rows, columns = list(range(len(sketches))), list(range(len(photos)))
    random.shuffle(rows)
    random.shuffle(columns)
    scorer = PairScorer(
        TRSM_, params, make_mesh(), photo_block=photo_block, sketch_block=sketch_block, sketch_group=sketch_group
    )
    got = gather(scorer, sketches[rows], photos[columns])
    np.testing.assert_allclose(got, wanted[np.ix_(rows, columns)], atol=1e-5)


def test_a_pair_with_a_zero_embedding_scores_nothing():
    params = random_params(TRSM_.init, 0)
    params["photo_head"] = jax.tree.map(jnp.zeros_like, params["photo_head"])
    scores = gather(PairScorer(TRSM_, params, make_mesh()), random_tokens(1, 2), random_tokens(2, 3))
    np.testing.assert_array_equal(scores, np.zeros((2, 3)))


def test_published_scores_lie_in_the_sketches_own_order():
    """Sketch order[i] of a block passes beside photo i; here in two blocks, the second with one sketch and black."""
    params = random_params(TRSM_.init, 0)
    sketches, photos, black = random_tokens(1, 4), random_tokens(2, 3), random_tokens(3, 1)
    order = np.array([2, 0, 3, 1])
    got = paired_scores(TRSM_, params, sketches, photos, order, black)
    encode = jax.jit(TRSM_.call(TRSM.__call__))
    for rows, beside in ((order[:3], sketches[order[:3]]), (order[3:], np.concatenate([sketches[[1]], black, black]))):
        pair = encode(params, photos, beside)
        photo, sketch = (np.asarray(x, np.float64) for x in (pair.photo_embedding, pair.sketch_embedding[: len(rows)]))
        norms = np.linalg.norm(sketch, axis=1)[:, None] * np.linalg.norm(photo, axis=1)
        np.testing.assert_allclose(got[rows], sketch @ photo.T / norms, atol=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_shortlists_have_the_scores_of_all_pairs(world, kept, monkeypatch):
    params, sketches, photos, wanted = world
    monkeypatch.setattr(block_scorer, "free_memory", lambda: 2**40 if kept else 0)
    chosen = np.stack([np.random.default_rng(i).permutation(len(photos))[:4] for i in range(len(sketches))])
    scores = PairScorer(TRSM_, params, make_mesh(), photo_block=3).shortlist(sketches, photos, chosen)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, chosen, axis=1), atol=1e-5)


def test_other_parameters_compile_nothing(world, caplog):
    params, sketches, photos, _ = world
    before = gather(PairScorer(TRSM_, params, make_mesh()), sketches, photos)
    others = jax.tree.map(lambda x: x * 1.1, params)
    with jax.log_compiles():
        after = gather(PairScorer(TRSM_, others, make_mesh()), sketches, photos)
    assert [line for line in caplog.messages if "Finished XLA compilation" in line] == []
    assert np.abs(after - before).max() > 1e-4


def test_bad_blocks_are_refused(world):
    with pytest.raises(ValueError, match="blocks must be >= 1: photo_block=0"):
        PairScorer(TRSM_, world[0], make_mesh(), photo_block=0)
