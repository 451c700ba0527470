import corpus
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from effnet_jax.doctor.duplicates import ALIKE, alike_pairs, edge_directions
from effnet_jax.doctor.listing import DataFile
from effnet_jax.doctor.pictures import VIEW, look_at


def look(image, role="photo"):
    data = image if isinstance(image, bytes) else corpus.stored(image)
    return look_at(DataFile("trainB/1.png", "train", role, "1", "1", "", lambda: data))


def views(*images):
    return np.stack([look(image).views for image in images])


def test_pixels_decide_and_not_the_file():
    image = corpus.photo(1)
    forms = [corpus.stored(image), corpus.stored(image, "BMP"), corpus.stored(image, "WEBP", lossless=True)]
    assert len({look(form).pixels for form in forms}) == 1
    assert look(corpus.jpeg(image)).pixels != look(image).pixels


def test_one_changed_pixel_is_another_picture():
    image = corpus.photo(1)
    changed = image.copy()
    changed.putpixel((3, 3), (254, 255, 255))
    assert look(changed).pixels != look(image).pixels
    assert alike_pairs(views(image, changed))[0][:3] == (0, 1, "")


def test_the_shape_is_part_of_the_pixels():
    image = corpus.photo(1)
    other = Image.fromarray(np.asarray(image).reshape(48, 192, 3))
    assert look(other).pixels != look(image).pixels


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda image: ImageEnhance.Brightness(image).enhance(0.6), ""),
        (lambda image: ImageEnhance.Contrast(image).enhance(0.5), ""),
        (ImageOps.mirror, "mirrored"),
        (lambda image: ImageOps.expand(image, 24, "white"), "margin differs"),
        (lambda image: ImageOps.mirror(ImageOps.expand(image, (30, 0, 0, 12), "white")), "mirrored, margin differs"),
    ],
)
def test_what_differs_is_said(change, how):
    image = corpus.photo(5, 160)
    ((i, j, said, cosine),) = alike_pairs(views(image, change(image)))
    assert (i, j, said) == (0, 1, how)
    assert ALIKE <= cosine <= 1 + 1e-5


def test_colour_does_not_matter():
    image = corpus.photo(7, 160)
    assert alike_pairs(views(image, ImageEnhance.Color(image).enhance(0.2)))


def test_different_photos_are_not_alike():
    many = views(*(corpus.photo(seed) for seed in range(120)))
    assert alike_pairs(many) == []


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_matter(monkeypatch, block):
    images = [corpus.photo(seed) for seed in range(9)]
    many = views(*images, *(ImageOps.mirror(image) for image in images[:4]))
    expected = alike_pairs(many)
    assert [(i, j) for i, j, _, _ in expected] == [(k, 9 + k) for k in range(4)]
    monkeypatch.setattr("effnet_jax.doctor.duplicates._BLOCK", block)
    again = alike_pairs(many)
    assert [pair[:3] for pair in again] == [pair[:3] for pair in expected]
    np.testing.assert_allclose([pair[3] for pair in again], [pair[3] for pair in expected], rtol=1e-6)


def test_the_projection_keeps_every_pair(monkeypatch):
    """The quick comparison must let everything pass that the full one would report."""
    images = [corpus.photo(seed) for seed in range(60)]
    many = views(*images, *(ImageOps.expand(image, 9, "white") for image in images))
    quick = {pair[:2] for pair in alike_pairs(many)}
    monkeypatch.setattr("effnet_jax.doctor.duplicates._SLACK", 3.0)  # compare all pairs in full
    assert quick == {pair[:2] for pair in alike_pairs(many)}
    assert quick == {(k, 60 + k) for k in range(60)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_edge_directions_are_unit_vectors_that_ignore_light_and_negation(seed):
    view = np.random.default_rng(seed).integers(60, 120, (1, VIEW, VIEW), dtype=np.uint8)
    directions = edge_directions(view)
    assert np.linalg.norm(directions) == pytest.approx(1, abs=1e-5)
    for other in (2 * view, view + 30, 255 - view):
        assert float(directions[0] @ edge_directions(other)[0]) == pytest.approx(1, abs=1e-4)


def test_flat_pictures_are_alike_to_nothing():
    flat = np.full((2, 2, VIEW, VIEW), 200, np.uint8)
    assert alike_pairs(flat) == []
    assert np.isfinite(edge_directions(flat[:, 0])).all()


def test_few_photos():
    assert alike_pairs(np.zeros((0, 2, VIEW, VIEW), np.uint8)) == []
    assert alike_pairs(views(corpus.photo(0))) == []
