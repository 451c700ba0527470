"""Batches of pictures that are hard to tell apart."""

import itertools
import pickle

import numpy as np
import pytest
from fake_split import fake_split
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.data.cache import cached_images
from effnet_jax.data.mining import GroupedOrder, nearest_photos
from effnet_jax.data.pipeline import train_batches


def on_a_line(photos):
    """Photos whose neighbours are those next to them."""
    angles = np.linspace(0, np.pi / 2, photos)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_neighbours_are_the_most_alike_and_never_itself():
    found = nearest_photos(on_a_line(7), 3, block=3)
    np.testing.assert_array_equal(found[:, 0] - np.arange(7), [1, -1, -1, -1, -1, -1, -1])
    assert not (found == np.arange(7)[:, None]).any()
    assert nearest_photos(on_a_line(3), 9).shape == (3, 2)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors.T - 9 * np.eye(50, dtype=np.float32)
    np.testing.assert_array_equal(nearest_photos(vectors, 5, block=7), np.argsort(-scores, 1, kind="stable")[:, :5])


@settings(max_examples=40, deadline=None)
@given(photos=st.integers(2, 12), extra=st.integers(0, 20), group=st.integers(2, 6), epoch=st.integers(0, 5))
def test_every_epoch_shows_every_sketch_once(photos, extra, group, epoch):
    rng = np.random.default_rng(photos)
    index = np.concatenate([np.arange(photos), rng.integers(0, photos, extra)]).astype(np.int32)
    order = GroupedOrder(index, nearest_photos(on_a_line(photos), 8), group, seed=3)
    assert sorted(order(epoch)) == list(range(len(index)))


def test_sketches_that_stand_together_are_of_photos_alike():
    photos = np.arange(60, dtype=np.int32)
    order = GroupedOrder(photos, nearest_photos(on_a_line(60), 16), 4, seed=0)
    distances = [np.abs(order(epoch).reshape(-1, 4) - order(epoch).reshape(-1, 4)[:, :1])[:, 1:] for epoch in range(3)]
    apart = [np.abs(np.random.default_rng(e).permutation(60).reshape(-1, 4)[:, 1:] - 30).mean() for e in range(3)]
    assert np.mean(distances[0][:8]) < 3 < np.mean(apart)  # the first groups have all to choose from
    assert (order(0) != order(1)).any()
    again = pickle.loads(pickle.dumps(order))
    np.testing.assert_array_equal(again(2), order(2))
    other = GroupedOrder(photos, order.neighbours, 4, seed=1)
    assert (other(0) != order(0)).any()


@pytest.mark.parametrize("photos", [61, 62, 63, 203])
def test_no_batch_ends_within_a_group(photos):
    order = GroupedOrder(np.arange(photos, dtype=np.int32), nearest_photos(on_a_line(photos), 16), 4, seed=0)
    stream = np.concatenate([order(epoch) for epoch in range(5)])
    groups = stream[: len(stream) // 4 * 4].reshape(-1, 4)
    whole = [np.ptp(group) <= 16 for group in groups]
    assert np.mean(whole) > 0.6
    shifted = stream[2 : 2 + (len(stream) - 2) // 4 * 4].reshape(-1, 4)
    assert np.mean([np.ptp(group) <= 16 for group in shifted]) < np.mean(whole) - 0.25


@pytest.fixture(scope="module")
def real():
    split = fake_split(11, 5)
    order = GroupedOrder(split.photo_index, nearest_photos(on_a_line(5), 4), 2, seed=0)
    return split, cached_images(split, (10,), mode="ram"), order


def batches(count, real, **options):
    split, images, order = real
    arguments = dict(views=("a0",), batch_size=4, seed=3, image_size=10, order=order) | options
    stream = train_batches(split, images, **arguments)
    got = list(itertools.islice(stream, count))
    stream.close()
    return got


def test_the_stream_has_that_order_on_any_host_from_any_step(real):
    split, images, order = real
    got = batches(8, real)
    sketches = np.concatenate([batch["sketch_index"] for batch in got])
    np.testing.assert_array_equal(sketches[:22], np.concatenate([order(0), order(1)]))
    np.testing.assert_array_equal(
        np.concatenate([batch["photo_10"] for batch in got]), images.photos(10)[split.photo_index[sketches]]
    )
    for first, second in zip(got[3:], batches(5, real, start_step=3), strict=True):
        np.testing.assert_array_equal(first["sketch_index"], second["sketch_index"])
        np.testing.assert_array_equal(first["position"], second["position"])
    parts = [batches(8, real, host=host, hosts=2) for host in range(2)]
    for whole, *halves in zip(got, *parts, strict=True):
        np.testing.assert_array_equal(whole["sketch_index"], np.concatenate([half["sketch_index"] for half in halves]))


def test_workers_see_the_same(real):
    split, _, order = real
    decoded = cached_images(split, (10,), mode="none")
    for a, b in zip(batches(5, real), batches(5, (split, decoded, order), workers=2), strict=True):
        np.testing.assert_array_equal(a["sketch_10"], b["sketch_10"])
