"""Likeness of patches, against a loop over every patch of every pair."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.retrieval.late_interaction import inked_patches, late_scores, near, unit_patches


def patches(seed, count, side, width=5):
    drawn = np.random.default_rng(seed).standard_normal((count, side * side + 1, width)).astype(np.float32)
    return np.array(unit_patches(drawn))


def by_hand(sketch, photo, side, window):
    """Patch by patch, with distances of the grid."""
    best = []
    for i, mine in enumerate(sketch):
        if not mine.any():
            continue
        looked = [
            float(np.dot(mine, theirs))
            for j, theirs in enumerate(photo)
            if not window or np.hypot(i // side - j // side, i % side - j % side) <= window
        ]
        best.append(max(looked))
    return np.mean(best) if best else 0.0


@settings(max_examples=25, deadline=None)
@given(
    side=st.integers(1, 5), window=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), seed=st.integers(0, 99),
    sketches=st.integers(1, 6), photos=st.integers(1, 4), share=st.floats(0, 1),
)  # fmt: skip
def test_scores_are_those_of_a_loop(side, window, seed, sketches, photos, share):
    s, p = patches(seed, sketches, side), patches(seed + 100, photos, side)
    s[np.random.default_rng(seed).random(s.shape[:2]) < share] = 0  # without ink
    got = np.asarray(late_scores(s, p, near(side, window)))
    expected = [[by_hand(sketch, photo, side, window) for photo in p] for sketch in s]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(late_scores(s, p, near(side, window), at_once=True), got, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), data=st.data())
def test_a_score_depends_on_the_pair_alone(seed, data):
    s, p = patches(seed, 5, 4), patches(seed + 100, 9, 4)
    whole = np.asarray(late_scores(s, p, near(4, 2.0)))
    order = np.array(data.draw(st.permutations(range(9))))[: data.draw(st.integers(1, 9))]
    np.testing.assert_allclose(late_scores(s, p[order], near(4, 2.0)), whole[:, order], atol=1e-6)


def test_a_sketch_is_most_like_itself_and_a_wider_window_never_lowers_a_score():
    p = patches(0, 6, 6)
    scores = [np.asarray(late_scores(p, p, near(6, window))) for window in (1.0, 2.0, 4.0, 0.0)]
    for score in scores:
        np.testing.assert_allclose(np.diag(score), 1, atol=1e-6)
        assert (score.argmax(axis=1) == np.arange(6)).all()
    assert all((wide >= narrow - 1e-6).all() for narrow, wide in itertools.pairwise(scores))


def test_tokens_of_zero_and_of_any_size_are_safe():
    tokens = np.zeros((1, 5, 3), np.float32)
    tokens[0, 1], tokens[0, 2] = (3e18, 0, 4e18), (3e-5, 0, 4e-5)
    got = np.asarray(unit_patches(tokens))[0]
    np.testing.assert_allclose(got[:2], [[0.6, 0, 0.8]] * 2, rtol=1e-5)
    assert not got[2:].any()


def test_ink_is_told_by_patch():
    sketch = np.full((3, 8, 8, 3), 255, np.uint8)
    sketch[0, 4:, :4] = 250  # faint, everywhere in one patch
    sketch[1, 0, 7] = 0  # one black pixel of 16
    np.testing.assert_array_equal(inked_patches(sketch, 4), [[0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(inked_patches(sketch, 4, ink=20.0), [[1, 1, 1, 1]] * 3)


@pytest.mark.parametrize("window", [1, 2.5, 3, 0])
def test_the_window_of_a_vit(window):
    """14 x 14 patches: at most 29 within a distance of 3."""
    offsets = itertools.product(range(-13, 14), repeat=2)
    inside = [(down, across) for down, across in offsets if not window or down**2 + across**2 <= window**2]
    found = near(14, window)
    assert found.sum() == sum((14 - abs(down)) * (14 - abs(across)) for down, across in inside)
    assert (found == found.T).all()
    assert window != 3 or found.sum(axis=1).max() == len(inside) == 29
