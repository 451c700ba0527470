import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.retrieval.top_k import Blocks, top_k


def by_sorting(queries, vectors, k):
    scores = queries.astype(np.float32) @ vectors.astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


def exact_case(seed, queries, rows, width=8, levels=3):
    """Multiples of 1/64 whose products are exact in float32, with many ties."""
    rng = np.random.default_rng(seed)
    make = lambda n: (rng.integers(-levels, levels + 1, (n, width)) / 64).astype(np.float32)  # noqa: E731
    return make(queries), make(rows)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 65]),
    st.sampled_from([1, 127, 128, 129, 700]),
    st.sampled_from([1, 128, 256, 8192]),
    st.sampled_from([1, 10]),
    st.booleans(),
)
def test_equals_numpy_for_any_blocks(seed, queries, rows, block, k, resident):
    sketches, vectors = exact_case(seed, queries, rows)
    index, score = top_k(sketches, Blocks(vectors, rows=block, resident=resident), k)
    wanted = by_sorting(sketches, vectors, k)
    np.testing.assert_array_equal(index, wanted[0])
    np.testing.assert_array_equal(score, wanted[1])


def test_groups_inside_large_blocks_are_exact():
    sketches, vectors = exact_case(0, 5, 20_011, width=4, levels=6)
    index, score = top_k(sketches, Blocks(vectors), 7)
    np.testing.assert_array_equal(index, by_sorting(sketches, vectors, 7)[0])
    np.testing.assert_array_equal(score, by_sorting(sketches, vectors, 7)[1])


def test_from_a_map_of_half_precision(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float16)
    np.save(tmp_path / "v.npy", vectors)
    queries = rng.standard_normal((4, 64)).astype(np.float32)
    index, score = top_k(queries, Blocks(np.load(tmp_path / "v.npy", mmap_mode="r"), rows=512), 10)
    wanted = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.testing.assert_array_equal(index, np.argsort(-wanted, axis=1)[:, :10])
    np.testing.assert_allclose(score, np.take_along_axis(wanted, index, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 2, 8, 40])
@pytest.mark.parametrize("rows", [5, 1031])
@pytest.mark.parametrize("width", [3, 512])
def test_equal_vectors_come_in_order_of_their_rows(queries, rows, width):
    """Also where products are rounded: a matrix product must treat every row of a block alike."""
    row = np.random.default_rng(width).standard_normal(width).astype(np.float16)
    index, score = top_k(np.tile(row, (queries, 1)), Blocks(np.tile(row, (rows, 1)), rows=256), 10)
    np.testing.assert_array_equal(index, np.tile(np.arange(min(10, rows)), (queries, 1)))
    assert len(np.unique(score)) == 1


def test_takes_device_arrays_and_asks_for_nothing():
    sketches, vectors = exact_case(1, 3, 300)
    index, _ = top_k(jnp.asarray(sketches), Blocks(jnp.asarray(vectors), rows=128), 4)
    np.testing.assert_array_equal(index, by_sorting(sketches, vectors, 4)[0])
    assert top_k(sketches, Blocks(vectors), 0).index.shape == (3, 0)
    assert top_k(sketches[:0], Blocks(vectors), 5).index.shape == (0, 5)
    assert top_k(sketches, Blocks(vectors[:0]), 5).index.shape == (3, 0)


def test_refusals_name_what_is_wrong():
    sketches, vectors = exact_case(2, 5, 20)
    with pytest.raises(ValueError, match="width 7, the vectors 8"):
        top_k(sketches[:, :7], Blocks(vectors), 1)
    sketches[[1, 3], 2] = np.nan
    with pytest.raises(ValueError, match=r"2 of 5 queries hold NaN or infinity: rows 1, 3$"):
        top_k(sketches, Blocks(vectors), 1)
    with pytest.raises(ValueError, match="k=-1"):
        top_k(sketches, Blocks(vectors), -1)
    with pytest.raises(ValueError, match="rows=0"):
        Blocks(vectors, rows=0)
