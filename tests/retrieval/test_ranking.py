import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run_program
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax import losses
from effnet_jax.retrieval import scores
from effnet_jax.retrieval.ranking import Ranking, accuracy_at_k, credit_at_k, rank_gallery, rank_sketches, rerank
from effnet_jax.retrieval.scores import _score_tile


def exact_case(seed, queries=13, gallery=150, width=8, levels=3):
    """Multiples of 1/64 whose products are exact in float32, with many ties; the truth of each query."""
    rng = np.random.default_rng(seed)
    sketches = rng.integers(-levels, levels + 1, (queries, width)) / 64
    photos = rng.integers(-levels, levels + 1, (gallery, width)) / 64
    return sketches.astype(np.float32), photos.astype(np.float32), rng.integers(0, gallery, queries)


def by_sorting(scores, truth, top=10):
    true = scores[np.arange(len(truth)), truth][:, None]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return (scores > true).sum(1), (scores == true).sum(1) - 1, order, np.take_along_axis(scores, order, 1)


def assert_same(ranking, expected):
    for name, want in zip(("better", "tied", "top_index", "top_score"), expected, strict=True):
        np.testing.assert_array_equal(getattr(ranking, name), want, err_msg=name)


@pytest.mark.parametrize("gallery", [1, 7, 127, 128, 129, 1000, 6000])
def test_equals_sorting(gallery):
    sketches, photos, truth = exact_case(gallery, gallery=gallery)
    ranking = rank_gallery(sketches, photos, truth, normalise=False)
    assert_same(ranking, by_sorting(sketches @ photos.T, truth))
    assert ranking.gallery_size == gallery


def test_top_is_exact_when_the_gallery_is_wide_enough_for_groups():
    sketches, photos, truth = exact_case(0, queries=5, gallery=20_011, width=4, levels=6)
    ranking = rank_gallery(sketches, photos, truth, top=7, normalise=False)
    assert_same(ranking, by_sorting(sketches @ photos.T, truth, top=7))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 8, 16, 64]), st.sampled_from([1, 128, 200, 300, 1000]))
def test_blocks_do_not_matter(seed, query_block, gallery_block):
    sketches, photos, truth = exact_case(seed, queries=21, gallery=390)
    ranking = rank_gallery(
        sketches, photos, truth, normalise=False, query_block=query_block, gallery_block=gallery_block
    )
    assert_same(ranking, by_sorting(sketches @ photos.T, truth))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_order_of_queries_and_gallery_does_not_matter(seed):
    sketches, photos, truth = exact_case(seed)
    rng = np.random.default_rng(seed + 1)
    a, b = rng.permutation(len(sketches)), rng.permutation(len(photos))
    first = rank_gallery(sketches, photos, truth, normalise=False)
    second = rank_gallery(sketches[a], photos[b], np.argsort(b)[truth[a]], normalise=False)
    np.testing.assert_array_equal(second.better, first.better[a])
    np.testing.assert_array_equal(second.tied, first.tied[a])
    np.testing.assert_array_equal(second.top_score, first.top_score[a])


@pytest.mark.parametrize("queries", [1, 300])
@pytest.mark.parametrize("gallery", [5, 120, 1031])
@pytest.mark.parametrize("width", [3, 512])
def test_a_constant_embedding_scores_chance(queries, gallery, width):
    row = np.random.default_rng(width).standard_normal(width).astype(np.float32)
    truth = np.arange(queries) % gallery
    ranking = rank_gallery(np.tile(row, (queries, 1)), np.tile(row, (gallery, 1)), truth)
    np.testing.assert_array_equal(ranking.tied, gallery - 1)
    for k in {1, min(5, gallery), gallery}:
        assert accuracy_at_k(ranking, k) == pytest.approx(k / gallery, abs=1e-12)


def test_equal_photos_tie_across_tiles():
    rng = np.random.default_rng(0)
    photos = rng.standard_normal((500, 64)).astype(np.float32)
    photos[450] = photos[3]
    ranking = rank_gallery(photos[[3, 450]], photos, np.array([3, 450]), gallery_block=128)
    np.testing.assert_array_equal(ranking.better, 0)
    np.testing.assert_array_equal(ranking.tied, 1)
    np.testing.assert_array_equal(ranking.top_index[:, :2], [[3, 450]] * 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=20))
def test_accuracy_is_monotone_and_ends_at_one(counts):
    better, tied = np.array(counts).T
    credits = np.stack([credit_at_k(better, tied, k) for k in range(1, 62)])
    assert (np.diff(credits, axis=0) >= 0).all()
    np.testing.assert_array_equal(credits[-1], 1)
    # The credit is the chance over random orders of the ties: t + 1 places, from r + 1 on.
    places = (better[None] < np.arange(1, 62)[:, None]) & (np.arange(1, 62)[:, None] <= (better + tied + 1)[None])
    np.testing.assert_allclose(credits, np.cumsum(places / (tied + 1), axis=0), atol=1e-12)


def test_cosine_ignores_length_and_zero_rows_score_zero():
    rng = np.random.default_rng(0)
    sketches, photos = rng.standard_normal((6, 16)), rng.standard_normal((40, 16))
    photos[7] = 0
    truth = rng.integers(0, 40, 6)
    first = rank_gallery(sketches, photos, truth, top=40)
    second = rank_gallery(sketches * 4, photos * 2.0 ** rng.integers(-9, 9, (40, 1)), truth, top=40)
    assert_same(second, (first.better, first.tied, first.top_index, first.top_score))
    np.testing.assert_array_equal(first.top_score[first.top_index == 7], 0)
    assert (np.abs(first.top_score) <= 1 + 1e-6).all()


def test_ranking_scales_rows_as_training_does():
    assert (scores.NORM_FLOOR, scores.LARGE) == (losses.NORM_FLOOR, losses.LARGE)


def test_large_rows_rank_as_small_ones_do_or_are_refused():
    rng = np.random.default_rng(1)
    sketches, photos, truth = rng.standard_normal((6, 16)), rng.standard_normal((40, 16)), rng.integers(0, 40, 6)
    first = rank_gallery(sketches, photos, truth)
    second = rank_gallery(sketches * 1e30, photos * 10.0 ** rng.integers(-9, 31, (40, 1)), truth)
    np.testing.assert_array_equal(second.better, first.better)
    np.testing.assert_allclose(second.top_score, first.top_score, atol=1e-6)
    with pytest.raises(ValueError, match=r"6 of 6 rows of sketches .*norms above 1e19"):
        rank_gallery(sketches * 1e30, photos, truth, normalise=False)


def test_takes_device_arrays_of_low_precision():
    sketches, photos, truth = exact_case(2)
    ranking = rank_gallery(jnp.asarray(sketches, jnp.bfloat16), jnp.asarray(photos), jnp.asarray(truth), top=0)
    assert ranking.top_index.shape == (13, 0)
    np.testing.assert_array_equal(ranking.better, rank_gallery(sketches, photos, truth).better)


def test_accuracy_beyond_the_gallery_is_an_error():
    ranking = rank_gallery(*exact_case(0, gallery=4))
    with pytest.raises(ValueError, match="gallery of 4"):
        accuracy_at_k(ranking, 5)
    with pytest.raises(ValueError, match="K = 0"):
        accuracy_at_k(ranking, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_named(value):
    sketches, photos, truth = exact_case(0)
    wrong = sketches.copy()
    wrong[[2, 11], 3] = value
    with pytest.raises(ValueError, match=r"2 of 13 rows of sketches .* rows 2, 11$"):
        rank_gallery(wrong, photos, truth)
    wrong = photos.copy()
    wrong[140, 0] = value
    with pytest.raises(ValueError, match=r"1 of 150 rows of photos .* rows 140$"):
        rank_gallery(sketches, wrong, truth, gallery_block=128)


@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_truths_are_refused():
    sketches, photos, truth = exact_case(0)
    with pytest.raises(ValueError, match=r"one width; got sketches \(13, 7\) and photos \(150, 8\)"):
        rank_gallery(sketches[:, :7], photos, truth)
    with pytest.raises(ValueError, match="one width"):
        rank_gallery(sketches[0], photos, truth)
    with pytest.raises(ValueError, match="Nothing to rank"):
        rank_gallery(sketches[:0], photos, truth[:0])
    with pytest.raises(ValueError, match=r"shape \(13,\)"):
        rank_gallery(sketches, photos, truth[:5])
    with pytest.raises(ValueError, match="must be integers"):
        rank_gallery(sketches, photos, truth.astype(float))
    truth[[1, 4]] = 150, -1
    with pytest.raises(ValueError, match=r"2 entries .* outside the 150 rows of photos: row 1: 150, row 4: -1"):
        rank_gallery(sketches, photos, truth)
    with pytest.raises(ValueError, match="query_block=0"):
        rank_gallery(sketches, photos, np.zeros(13, int), query_block=0)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from([128, 1000]))
def test_photo_to_sketch_takes_the_best_own_sketch(seed, gallery_block):
    sketches, photos, photo_index = exact_case(seed, queries=170, gallery=60)
    ranking, queries = rank_sketches(photos, sketches, photo_index, normalise=False, gallery_block=gallery_block)
    np.testing.assert_array_equal(queries, np.unique(photo_index))  # photos without a sketch ask nothing
    scores = photos @ sketches.T
    for i, photo in enumerate(queries):
        own = photo_index == photo
        best = scores[photo, own].max()
        assert ranking.better[i] == (scores[photo, ~own] > best).sum()
        assert ranking.tied[i] == (scores[photo, ~own] == best).sum()
        assert ranking.candidates[i] == (~own).sum() + 1
        np.testing.assert_array_equal(ranking.top_index[i], np.argsort(-scores[photo], kind="stable")[:10])


EIGHT_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from effnet_jax.retrieval.ranking import rank_gallery
assert jax.device_count() == 8
rng = np.random.default_rng(0)
sketches = (rng.integers(-4, 5, (64, 16)) / 64).astype(np.float32)
photos = (rng.integers(-4, 5, (512, 16)) / 64).astype(np.float32)
truth = rng.integers(0, 512, 64)
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
rows = NamedSharding(mesh, P("data"))
for normalise in (True, False):
    one = rank_gallery(sketches, photos, truth, normalise=normalise)
    for blocks in ({}, {"query_block": 32, "gallery_block": 256}):
        eight = rank_gallery(
            jax.device_put(sketches, rows), jax.device_put(photos, rows), truth, normalise=normalise, **blocks
        )
        if normalise:  # rows of unit norm are not exact: scores may differ in the last bit
            np.testing.assert_allclose(eight.top_score, one.top_score, atol=1e-6)
        else:
            for name in ("better", "tied", "top_index", "top_score"):
                np.testing.assert_array_equal(getattr(eight, name), getattr(one, name), err_msg=name)
row = np.tile(rng.standard_normal(16).astype(np.float32), (64, 1))
eight = rank_gallery(jax.device_put(row, rows), jax.device_put(row, rows), np.arange(64))
np.testing.assert_array_equal(eight.tied, 63)
print("equal")
"""


def test_eight_devices_equal_one():
    assert "equal" in run_program(EIGHT_DEVICES, devices=8)


def test_ranking_holds_expected_ranks():
    counts = np.array([[0, 3], [0, 2], [9, 8]], np.int32)
    ranking = Ranking(*counts, np.zeros((2, 0), np.int32), np.zeros((2, 0), np.float32))
    np.testing.assert_array_equal(ranking.rank, [1, 5])
    assert ranking.gallery_size == 8


def test_memory_does_not_grow_with_the_queries():
    def scratch(blocks):
        shapes = (
            ((blocks, 64, 32), np.float32),
            ((blocks, 64, 1), np.int32),
            ((blocks, 64), np.float32),
            ((blocks,), bool),
        )
        arguments = [jax.ShapeDtypeStruct(*shape) for shape in (*shapes, ((8192, 32), np.float32))]
        compiled = _score_tile.lower(*arguments, 0, 8192, top=10).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = scratch(2), scratch(64)
    assert few < 3 * 64 * 8192 * 4  # a few times one block of scores
    assert many < few + 2**20


def test_reranking_a_constant_encoder_scores_chance():
    gallery, shortlist, truth = 100, 50, np.arange(100)
    first = rank_gallery(np.ones((gallery, 4), np.float32), np.ones((gallery, 4), np.float32), truth, top=shortlist)
    scores = np.random.default_rng(0).random((gallery, shortlist))
    for again in (rerank(first, np.zeros_like(scores), truth), rerank(first, scores, truth)):
        assert again.tied.min() >= 0
        assert (again.better + again.tied).max() < gallery
        outside = truth >= shortlist
        assert (again.better[outside] == shortlist).all()
    assert accuracy_at_k(rerank(first, np.zeros_like(scores), truth), 10) == pytest.approx(0.1)
