import functools
import itertools

import numpy as np
import pytest
from fake_split import fake_split
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.data.cache import cached_images
from effnet_jax.data.pipeline import eval_batches, train_batches

SKETCHES, PHOTOS, SIZE = 11, 5, 10
SOURCES = (10, 12)  # int(10 * 1.2) = 12


# Threads of a stream that was closed may still draw from `random` while hypothesis draws the next example
elsewhere = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

SPLIT = fake_split(SKETCHES, PHOTOS)


@pytest.fixture
def split():
    return SPLIT


@functools.cache
def cached():
    return cached_images(SPLIT, SOURCES, mode="ram")


@pytest.fixture
def cache():
    return cached()


def batches(split, cache, count, **options):
    arguments = dict(views=("a0", "a1"), batch_size=4, seed=3, image_size=SIZE) | options
    stream = train_batches(split, cache, **arguments)
    got = list(itertools.islice(stream, count))
    stream.close()
    return got


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_a_batch_holds_what_the_views_need(split, cache):
    (batch,) = batches(split, cache, 1)
    shapes = {key: (rows.dtype.name, rows.shape) for key, rows in batch.items()}
    assert shapes == {
        "sketch_10": ("uint8", (4, 10, 10, 3)), "sketch_12": ("uint8", (4, 12, 12, 3)),
        "photo_10": ("uint8", (4, 10, 10, 3)), "photo_12": ("uint8", (4, 12, 12, 3)),
        "sketch_index": ("int32", (4,)), "photo_index": ("int32", (4,)), "position": ("uint32", (4,)),
    }  # fmt: skip
    np.testing.assert_array_equal(batch["photo_index"], split.photo_index[batch["sketch_index"]])
    np.testing.assert_array_equal(batch["sketch_12"], cache.sketches(12)[batch["sketch_index"]])
    np.testing.assert_array_equal(batch["photo_10"], cache.photos(10)[batch["photo_index"]])


@pytest.mark.parametrize(("views", "sizes"), [
    (("a0",), {"sketch_10", "photo_10"}), (("a1", "a2"), {"sketch_12", "photo_12"}),
    ({"sketch": ("a0", "a1"), "photo": ("a0",)}, {"sketch_10", "sketch_12", "photo_10"})])  # fmt: skip
def test_only_the_sources_of_the_views_are_sent(split, cache, views, sizes):
    (batch,) = batches(split, cache, 1, views=views)
    assert {key for key in batch if key[-1].isdigit()} == sizes


@pytest.mark.parametrize("hosts", (2, 4))
def test_any_number_of_hosts_sees_the_same_stream(split, cache, hosts):
    alone = batches(split, cache, 8)
    parts = [batches(split, cache, 8, host=host, hosts=hosts) for host in range(hosts)]
    joined = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]} for step in zip(*parts, strict=True)
    ]
    assert_same(alone, joined)


@elsewhere
@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 40), batch_size=st.integers(1, SKETCHES), seed=st.integers(0, 2**32 - 1))
def test_any_first_step_sees_the_same_stream(start, batch_size, seed):
    options = dict(batch_size=batch_size, seed=seed, views=("a0",))
    straight = batches(SPLIT, cached(), start + 3, **options)
    assert_same(straight[start:], batches(SPLIT, cached(), 3, start_step=start, **options))


@elsewhere
@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, SKETCHES), seed=st.integers(0, 2**32 - 1))
def test_every_epoch_shows_every_sketch_once_and_positions_follow_on(batch_size, seed):
    steps = -(-3 * SKETCHES // batch_size)
    got = batches(SPLIT, cached(), steps, batch_size=batch_size, seed=seed, views=("a0",))
    rows = np.concatenate([batch["sketch_index"] for batch in got])
    positions = np.concatenate([batch["position"] for batch in got])
    np.testing.assert_array_equal(positions, np.arange(steps * batch_size))
    epochs = [tuple(rows[e * SKETCHES : (e + 1) * SKETCHES]) for e in range(3)]
    assert all(sorted(epoch) == list(range(SKETCHES)) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_seeds_give_other_orders(split, cache):
    orders = {tuple(batches(split, cache, 2, seed=seed)[1]["sketch_index"]) for seed in range(8)}
    assert len(orders) > 4


def test_a_late_start_costs_nothing_and_positions_wrap(split, cache):
    step = 2**32 // 4 - 1
    first, second = batches(split, cache, 2, start_step=step)
    np.testing.assert_array_equal(first["position"], 2**32 - 4 + np.arange(4))
    np.testing.assert_array_equal(second["position"], np.arange(4))


@pytest.mark.parametrize("mode", ("disk", "none"))
def test_every_cache_mode_gives_the_same_batches(split, cache, tmp_path, mode):
    other = cached_images(split, SOURCES, mode=mode, cache_dir=tmp_path)
    assert_same(batches(split, cache, 6), batches(split, other, 6))


def test_workers_give_the_same_batches(split, cache):
    undecoded = cached_images(split, SOURCES, mode="none")
    straight = batches(split, cache, 9)
    assert_same(straight[3:], batches(split, undecoded, 6, workers=2, start_step=3))
    assert_same(straight, batches(split, cache, 9, workers=2))  # cached: threads, without starting processes


def test_batches_own_their_memory(split, cache):
    got = batches(split, cache, 8)
    kept = [{key: rows.copy() for key, rows in batch.items()} for batch in got]
    for batch in got[::2]:
        for rows in batch.values():
            rows[:] = 0
    assert_same(kept[1::2], got[1::2])
    assert cache.sketches(10)[:].any()


@pytest.mark.parametrize(("options", "message"), [
    (dict(hosts=3), "batch_size=4 must be a multiple of the number of hosts, 3"),
    (dict(batch_size=12), "batch_size=12 is larger than the 11 sketches of fake/all train"),
    (dict(batch_size=0), "batch_size=0 must be above 0"),
    (dict(host=2, hosts=2), "host=2 must lie in 0..1"),
    (dict(start_step=-1), "start_step=-1"),
    (dict(seed=2**32), "seed=4294967296"),
    (dict(workers=-1), "workers=-1"),
    (dict(views=("a9",)), "'a9' is not known"),
    (dict(image_size=20), r"need images of \[20, 24\] pixels, but train has .*\(10, 12\)"),
])  # fmt: skip
def test_impossible_requests_are_refused_before_the_first_batch(split, cache, options, message):
    arguments = dict(views=("a0", "a1"), batch_size=4, seed=3, image_size=SIZE) | options
    with pytest.raises(ValueError, match=message):
        train_batches(split, cache, **arguments)


@pytest.mark.parametrize("mode", ("ram", "none"))
@pytest.mark.parametrize("batch_size", (1, 4, 5, 16))
def test_eval_batches_keep_the_order_and_fill_up_the_last(split, mode, batch_size):
    images = cached_images(split, SOURCES, mode=mode).sketches(10)
    got = list(eval_batches(images, batch_size))
    assert all(rows.shape == (batch_size, 10, 10, 3) and valid.shape == (batch_size,) for rows, valid in got)
    np.testing.assert_array_equal(np.concatenate([rows[valid] for rows, valid in got]), images[:])
    assert not got[-1][0][~got[-1][1]].any()


def test_eval_batches_take_arrays_and_nothing():
    images = np.arange(7 * 12, dtype=np.uint8).reshape(7, 2, 2, 3)
    got = list(eval_batches(images, 3))
    np.testing.assert_array_equal(np.concatenate([rows[valid] for rows, valid in got]), images)
    assert list(eval_batches(images[:0], 3)) == []
    with pytest.raises(ValueError, match="batch_size=0"):
        eval_batches(images, 0)


@pytest.mark.parametrize("mode", ("ram", "none"))
@pytest.mark.parametrize("hosts", (2, 4))
def test_hosts_share_the_evaluation(split, mode, hosts):
    images = cached_images(split, SOURCES, mode=mode).sketches(10)
    whole = list(eval_batches(images, 4))
    shares = [list(eval_batches(images, 4, host=host, hosts=hosts)) for host in range(hosts)]
    for batch, (rows, valid) in enumerate(whole):
        parts = [share[batch] for share in shares]
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), rows)
        assert all(np.array_equal(mask, valid) for _, mask in parts)
    with pytest.raises(ValueError, match="hosts=3"):
        eval_batches(images, 4, hosts=3)


def test_another_number_of_hosts_goes_on_with_the_same_stream(split, cache):
    straight = batches(split, cache, 7)
    before = [batches(split, cache, 3, host=host, hosts=4) for host in range(4)]
    after = [batches(split, cache, 4, host=host, hosts=2, start_step=3) for host in range(2)]
    for part, step in ((before, range(3)), (after, range(3, 7))):
        for i, t in enumerate(step):
            for name, rows in straight[t].items():
                np.testing.assert_array_equal(np.concatenate([share[i][name] for share in part]), rows)
