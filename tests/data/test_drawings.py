"""Photos without sketches in the training stream: drawn anew in each epoch, in even turns with real sketches."""

import dataclasses
import itertools

import numpy as np
import pytest
from fake_split import fake_split
from PIL import Image

from effnet_jax.config import PenConfig
from effnet_jax.data.cache import cached_images
from effnet_jax.data.drawings import Drawings, Redrawn
from effnet_jax.data.photo_folder import open_photos, photo_seed
from effnet_jax.data.pipeline import train_batches
from effnet_jax.images.pseudo_sketch import CANVAS, draw_lines, resize_lines

SIZE, SOURCES = 10, (10, 12)
REAL = fake_split(11, 5)
PHOTOS = 7


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(PHOTOS):
        photo = np.full((90, 80, 3), 255, np.uint8)
        photo[20:60, 10 + 3 * i : 50 + 3 * i] = rng.integers(0, 120, 3)
        Image.fromarray(photo).save(root / f"{i}.png")
    return open_photos(root, PenConfig(), root / "cache")


def drawings(split, mode="ram", seed=0):
    photos = cached_images(split, {"sketch": (), "photo": (*SOURCES, CANVAS)}, mode=mode)
    return Drawings(photos, PenConfig(), seed)


@pytest.fixture(scope="module")
def real():
    return cached_images(REAL, SOURCES, mode="ram")


def batches(count, split, images, **options):
    arguments = dict(views=("a0", "a1"), batch_size=4, seed=3, image_size=SIZE) | options
    stream = train_batches(split, images, **arguments)
    got = list(itertools.islice(stream, count))
    stream.close()
    return got


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def joined(got, key):
    return np.concatenate([batch[key] for batch in got])


def test_only_photos_are_kept(drawn):
    photos = drawings(drawn).photos
    assert set(photos.pixels) == {("photo", size) for size in (*SOURCES, CANVAS)}


def test_photos_alone_are_a_training_stream(drawn):
    images = drawings(drawn)
    got = batches(7, drawn, images)
    assert {key: rows.shape for key, rows in got[0].items()} == {
        "sketch_10": (4, 10, 10, 3), "sketch_12": (4, 12, 12, 3), "photo_10": (4, 10, 10, 3),
        "photo_12": (4, 12, 12, 3), "sketch_index": (4,), "photo_index": (4,), "position": (4,),
    }  # fmt: skip
    rows = joined(got, "photo_index")
    assert sorted(rows[:PHOTOS]) == sorted(rows[PHOTOS : 2 * PHOTOS]) == list(range(PHOTOS))
    np.testing.assert_array_equal(joined(got, "photo_12"), images.photos.photos(12)[rows])


def test_every_epoch_draws_anew_and_every_start_draws_alike(drawn):
    got = batches(7, drawn, drawings(drawn))
    rows, sketches = joined(got, "photo_index"), joined(got, "sketch_12")
    for photo in range(PHOTOS):
        first, second, *_ = sketches[rows == photo]
        assert not np.array_equal(first, second)
    assert_same(got[3:], batches(4, drawn, drawings(drawn), start_step=3))
    other = batches(7, drawn, drawings(drawn, seed=1))
    np.testing.assert_array_equal(joined(other, "photo_index"), rows)
    assert not np.array_equal(joined(other, "sketch_12"), sketches)


def test_a_training_drawing_is_never_the_fixed_one(drawn):
    """The seed of the fixed drawings begins with 0, which no run's does."""
    images = drawings(drawn)
    got = batches(2, drawn, images)
    rows, sketches = joined(got, "photo_index")[:PHOTOS], joined(got, "sketch_12")[:PHOTOS]
    for row, sketch in zip(rows, sketches, strict=True):
        canvas = images.photos.take("photo", np.array([row]), (CANVAS,))[CANVAS][0]
        key = photo_seed(drawn.photo_sha256[row])
        again, fixed = (draw_lines(canvas, PenConfig(), seed) for seed in ((1, key, 0), (0, key)))
        np.testing.assert_array_equal(sketch, resize_lines(again, 12, "bilinear"))
        assert np.abs(resize_lines(fixed, 12, "bilinear").astype(int) - sketch).mean() > 0.3


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_unpaired_photos_fill_their_share_of_every_batch(real, drawn, share):
    got = batches(40, REAL, real, unpaired=(drawn, drawings(drawn)), unpaired_share=share)
    for batch in got:
        assert (batch["photo_index"] >= len(REAL.photo_ids)).mean() == share
    np.testing.assert_array_equal(joined(got, "position"), np.arange(160))
    sketches = joined(got, "sketch_index")
    for first, count in ((0, 11), (11, PHOTOS)):
        own = sketches[(sketches >= first) & (sketches < first + count)] - first
        for epoch in range(len(own) // count):
            assert sorted(own[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_each_row_holds_the_pictures_of_its_own_source(real, drawn):
    images = drawings(drawn)
    for batch in batches(6, REAL, real, unpaired=(drawn, images)):
        for i, (sketch, photo) in enumerate(
            zip(batch["sketch_index"].tolist(), batch["photo_index"].tolist(), strict=True)
        ):
            assert (sketch >= 11) == (photo >= 5)
            if sketch < 11:
                assert photo == REAL.photo_index[sketch]
                np.testing.assert_array_equal(batch["sketch_10"][i], real.sketches(10)[sketch])
                np.testing.assert_array_equal(batch["photo_12"][i], real.photos(12)[photo])
            else:
                assert sketch - 11 == photo - 5
                np.testing.assert_array_equal(batch["photo_12"][i], images.photos.photos(12)[photo - 5])


def test_hosts_and_first_steps_see_the_same_mixed_stream(real, drawn):
    options = dict(unpaired=(drawn, drawings(drawn)), batch_size=8)
    alone = batches(6, REAL, real, **options)
    parts = [batches(6, REAL, real, host=host, hosts=2, **options) for host in range(2)]
    together = [{key: np.concatenate([p[key] for p in step]) for key in step[0]} for step in zip(*parts, strict=True)]
    assert_same(alone, together)
    assert_same(alone[4:], batches(2, REAL, real, start_step=4, **options))


@pytest.mark.parametrize("mode", ["none", "disk"])
def test_cache_modes_and_workers_change_nothing(real, drawn, tmp_path, mode):
    sizes = {"sketch": (), "photo": (*SOURCES, CANVAS)}
    photos = cached_images(drawn, sizes, mode=mode, cache_dir=tmp_path)
    other = Drawings(photos, PenConfig(), 0)
    straight = batches(4, REAL, real, unpaired=(drawn, drawings(drawn)))
    assert_same(straight, batches(4, REAL, real, unpaired=(drawn, other)))
    if mode == "none":
        assert_same(straight, batches(4, REAL, real, unpaired=(drawn, other), workers=2))


def test_real_sketches_stand_in_the_order_that_they_have_alone(real, drawn):
    mixed = joined(batches(12, REAL, real, unpaired=(drawn, drawings(drawn))), "sketch_index")
    alone = joined(batches(6, REAL, real), "sketch_index")
    np.testing.assert_array_equal(mixed[mixed < 11], alone)


@pytest.mark.parametrize(("share", "message"), [
    (0.0, "unpaired_share=0.0 must lie between 0 and 1"), (1.0, "unpaired_share=1.0 must lie between 0 and 1"),
    (0.75, "larger than the 7 sketches of .* unpaired for its share of 0.75")])  # fmt: skip
def test_impossible_shares_are_refused(real, drawn, share, message):
    with pytest.raises(ValueError, match=message):
        batches(1, REAL, real, unpaired=(drawn, drawings(drawn)), unpaired_share=share, batch_size=11)


def redrawn(share, seed=0, mode="ram"):
    sizes = {"sketch": (*SOURCES, CANVAS), "photo": SOURCES}
    return Redrawn(cached_images(REAL, sizes, mode=mode), PenConfig(), seed, share)


def test_real_sketches_are_drawn_anew_in_their_share_and_photos_are_not(real):
    plain, half = batches(20, REAL, real), batches(20, REAL, redrawn(0.5))
    for key in ("photo_10", "photo_12", "sketch_index", "photo_index", "position"):
        np.testing.assert_array_equal(joined(plain, key), joined(half, key))
    changed = (joined(plain, "sketch_12") != joined(half, "sketch_12")).any((1, 2, 3))
    assert 0.3 < changed.mean() < 0.7
    np.testing.assert_array_equal((joined(plain, "sketch_10") != joined(half, "sketch_10")).any((1, 2, 3)), changed)
    assert_same(plain, batches(20, REAL, redrawn(0.0)))


def test_a_redrawn_sketch_follows_from_sketch_epoch_and_seed():
    got = batches(8, REAL, redrawn(1.0))
    rows, sketches = joined(got, "sketch_index"), joined(got, "sketch_12")
    for sketch in range(10):
        first, second, *_ = sketches[rows == sketch]
        assert not np.array_equal(first, second)
    assert_same(got[3:], batches(5, REAL, redrawn(1.0), start_step=3))
    assert_same(got, batches(8, REAL, redrawn(1.0, mode="none"), workers=2))
    assert not np.array_equal(joined(batches(8, REAL, redrawn(1.0, seed=1)), "sketch_12"), sketches)


def test_another_sketch_of_the_photo_stands_beside_where_there_is_one(real, drawn):
    options = dict(unpaired=(drawn, drawings(drawn)), other_view="a1")
    got = batches(30, REAL, real, **options)
    assert got[0]["other_12"].shape == (4, 12, 12, 3) and "other_10" not in got[0]
    seen = set()
    for batch in got:
        pairs = zip(batch["sketch_index"].tolist(), batch["photo_index"].tolist(), strict=True)
        for i, (sketch, photo) in enumerate(pairs):
            if photo >= len(REAL.photo_ids):  # another drawing of the same photo
                assert not np.array_equal(batch["other_12"][i], batch["sketch_12"][i])
                continue
            of_photo = np.flatnonzero(REAL.photo_index == photo).tolist()
            (other,) = [j for j in of_photo if np.array_equal(real.sketches(12)[j], batch["other_12"][i])]
            assert other != sketch
            seen.add((sketch, other))
    assert len(seen) >= 12  # of 16 ordered pairs of sketches of one photo
    assert_same(got[10:], batches(20, REAL, real, start_step=10, **options))
    plain = batches(30, REAL, real, unpaired=(drawn, drawings(drawn)))
    assert_same([{k: v for k, v in batch.items() if k != "other_12"} for batch in got], plain)


def test_a_sketch_that_is_the_only_one_stands_beside_itself():
    single = fake_split(5, 5)
    images = cached_images(single, SOURCES, mode="ram")
    for batch in batches(3, single, images, other_view="a0"):
        np.testing.assert_array_equal(batch["other_10"], batch["sketch_10"])


def test_drawings_among_real_sketches_are_not_drawn_twice(real):
    tags = tuple("drawn1" if i % 2 else "01" for i in range(11))
    split = dataclasses.replace(REAL, tags=tags)
    sizes = {"sketch": (*SOURCES, CANVAS), "photo": SOURCES}
    images = Redrawn(cached_images(split, sizes, mode="ram"), PenConfig(), 0, 1.0)
    got = batches(6, split, images)
    rows, sketches = joined(got, "sketch_index"), joined(got, "sketch_12")
    changed = (sketches != real.sketches(12)[rows]).any((1, 2, 3))
    np.testing.assert_array_equal(changed, rows % 2 == 0)
