import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import draw_pair, tiny_encoders, write_photos

from effnet_jax import Catalogue as FromTheTop
from effnet_jax.catalogue import layout
from effnet_jax.catalogue.build import build_catalogue
from effnet_jax.catalogue.catalogue import CHANGED, MISSING, OK, Catalogue, describe
from effnet_jax.catalogue.hits_page import preview_of, write_hits
from effnet_jax.catalogue.picture import read_picture
from effnet_jax.catalogue.vectors import export_catalogue
from effnet_jax.encoders.encoders import MODEL
from effnet_jax.images.decode import DecodeError
from effnet_jax.images.preprocessing import resize


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogue")
    write_photos(root / "photos", range(30))
    (root / "photos" / "a copy & <more>.png").write_bytes((root / "photos" / "p007.png").read_bytes())
    build_catalogue([root / "photos"], root / "index", tiny_encoders(), part_photos=10, batch_size=8)
    return root / "index"


@pytest.fixture
def sketch():
    return np.asarray(draw_pair(7)[1].convert("RGB"))


def test_equals_plain_numpy_and_ties_stand_by_path(index, sketch):
    catalogue = Catalogue.open(index)
    assert FromTheTop is Catalogue
    assert len(catalogue) == 31
    hits = catalogue.search(sketch, top=31)
    query = tiny_encoders().embed_sketches(resize(sketch, 32)[None])[0]
    scores = catalogue.embeddings.astype(np.float32) @ query
    order = np.lexsort((np.arange(31), -scores.astype(np.float64).round(6)))
    assert [hit.row for hit in hits] == order.tolist()
    assert [hit.rank for hit in hits] == list(range(1, 32))
    np.testing.assert_allclose([hit.score for hit in hits], scores[order], atol=1e-6)
    assert all(hit.path == catalogue.paths[hit.row] and hit.status == OK for hit in hits)
    twins = [hit for hit in hits if hit.path.endswith(("a copy & <more>.png", "p007.png"))]
    assert twins[0].score == twins[1].score
    assert twins[0].rank + 1 == twins[1].rank
    assert twins[0].path < twins[1].path


def test_takes_pictures_in_any_form(index, sketch, tmp_path):
    path = tmp_path / "sketch.png"
    Image.fromarray(sketch).save(path)
    catalogue = Catalogue.open(index)
    wanted = [hit.path for hit in catalogue.search(sketch)]
    for form in (path, str(path), path.read_bytes(), Image.fromarray(sketch), Image.fromarray(sketch).convert("1")):
        assert [hit.path for hit in catalogue.search(form)] == wanted
    with pytest.raises(DecodeError, match="not an image"):
        catalogue.search(b"hello")
    assert catalogue.search_many([]) == []


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "I", "I;16", "F", "HSV", "LAB", "RGBA", "P"])
def test_pillow_images_of_every_mode_are_read(mode):
    drawn = draw_pair(7)[1]
    picture = Image.new("LAB", drawn.size, (255, 128, 128)) if mode == "LAB" else drawn.convert("RGB")
    if mode == "LAB":
        picture.paste((0, 128, 128), mask=drawn.point(lambda v: 255 - v))
    elif mode == "I;16":
        picture = Image.fromarray(np.asarray(drawn, np.uint16) * 257)
    else:
        picture = (drawn if mode == "F" else picture).convert(mode)
    np.testing.assert_allclose(read_picture(picture), np.asarray(drawn.convert("RGB")).astype(int), atol=3)


def test_pillow_images_are_turned_upright(sketch):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(sketch).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        np.testing.assert_array_equal(read_picture(image), read_picture(stream.getvalue()))
        assert read_picture(image).shape == (64, 60, 3)


def test_pictures_without_pixels_are_refused():
    for empty in (np.zeros((0, 0, 3), np.uint8), Image.new("RGB", (0, 5))):
        with pytest.raises(ValueError, match="without pixels"):
            read_picture(empty)


@pytest.mark.usefixtures("unchecked")
def test_arrays_that_are_no_8_bit_rgb_are_refused(index, sketch):
    with pytest.raises(ValueError, match=r"must be uint8 \(h, w, 3\), not float64"):
        Catalogue.open(index).search(sketch / 255)
    with pytest.raises(ValueError, match=r"not uint8 \(60, 64\)"):
        Catalogue.open(index).search(sketch[:, :, 0])


def test_resident_and_small_blocks_find_the_same(index, sketch):
    wanted = [(hit.row, hit.score) for hit in Catalogue.open(index).search(sketch, top=5)]
    for options in ({"resident": True}, {"block_rows": 1}):
        found = Catalogue.open(index, **options).search(sketch, top=5)
        assert [hit.row for hit in found] == [row for row, _ in wanted]
        np.testing.assert_allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-6)


def test_a_photographed_sketch_is_cleaned(index, sketch):
    catalogue = Catalogue.open(index)
    light = np.linspace(0.85, 0.55, sketch.shape[1])[None, :, None] * np.array([1, 0.95, 0.85])
    noise = np.random.default_rng(0).normal(0, 2, sketch.shape)
    photographed = (sketch * light + noise).clip(0, 255).astype(np.uint8)
    clean = catalogue.embed_sketches([sketch])[0]
    raw, cleaned = (catalogue.embed_sketches([photographed], clean=c)[0] @ clean for c in (False, True))
    assert cleaned > 0.98
    assert cleaned > raw


def test_photos_that_moved_or_changed_are_reported(tmp_path, sketch):
    photos = write_photos(tmp_path / "photos", range(4))
    build_catalogue([tmp_path / "photos"], tmp_path / "index", tiny_encoders())
    photos[0].unlink()
    draw_pair(99)[0].save(photos[1])
    os.utime(photos[2], (5, 5))  # touched, not changed
    catalogue = Catalogue.open(tmp_path / "index")
    status = {os.path.basename(hit.path): hit.status for hit in catalogue.search(sketch)}
    assert status == {"p000.png": MISSING, "p001.png": CHANGED, "p002.png": OK, "p003.png": OK}
    assert {hit.status for hit in catalogue.search(sketch, check_files=False)} == {OK}


def test_an_open_index_finds_the_same_when_it_is_rebuilt(tmp_path, sketch):
    photos = write_photos(tmp_path / "photos", range(4))
    build_catalogue([tmp_path / "photos"], tmp_path / "index", tiny_encoders(), tokens=True, batch_size=4)
    catalogue = Catalogue.open(tmp_path / "index")
    before = catalogue.search(sketch, check_files=False)
    for path in photos:
        path.unlink()
    write_photos(tmp_path / "photos", [9])
    build_catalogue([], tmp_path / "index")
    assert catalogue.search(sketch, check_files=False) == before
    for read in (catalogue.thumbnail, lambda row: catalogue.tokens([row])):
        with pytest.raises(ValueError, match=r"was rebuilt while it was open; open it again"):
            read(0)


def test_a_damaged_part_is_named(index, tmp_path):
    broken = copy_of(index, tmp_path / "index")
    for path in broken.rglob("thumbnails.bin"):
        path.unlink()
    with pytest.raises(ValueError, match=r"thumbnails\.bin is not whole.*embed --out"):
        Catalogue.open(broken).thumbnail(0)


def test_what_is_no_index_is_refused(index, tmp_path):
    with pytest.raises(ValueError, match=r"there is no index in .*; effnet-jax embed makes one"):
        Catalogue.open(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot be read"):
        Catalogue.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("index.json", "cannot be read"), ("photos-*", "not whole"), ("paths-*", "does not hold"), (MODEL, "encoders")],
)
def test_damaged_files_are_refused(index, tmp_path, name, words):
    broken = copy_of(index, tmp_path / "index")
    (path,) = broken.rglob(name)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=words):
        Catalogue.open(broken)


def test_a_newer_layout_is_refused(index, tmp_path):
    broken = copy_of(index, tmp_path / "index")
    path = broken / "index.json"
    path.write_text(path.read_text().replace('"layout": 1', '"layout": 9'))
    with pytest.raises(ValueError, match="its layout is 9, this version reads 1"):
        Catalogue.open(broken)


def copy_of(index, folder):
    return shutil.copytree(index, folder)


def test_mixed_models_are_refused(index, tmp_path):
    broken = copy_of(index, tmp_path / "index")
    tiny_encoders(3).save(broken / layout.MODEL)
    with pytest.raises(ValueError, match="mixes two models"):
        Catalogue.open(broken)


def test_export(index, tmp_path):
    catalogue = Catalogue.open(index)
    for dtype in ("float32", "float16"):
        path = export_catalogue(catalogue, tmp_path / "new" / "x.npz", dtype=dtype)
        with np.load(path, allow_pickle=False) as file:
            assert file["embeddings"].dtype == dtype
            np.testing.assert_array_equal(file["embeddings"], catalogue.embeddings)
            assert file["paths"].tolist() == catalogue.paths
            assert len(set(file["sha256"].tolist())) == 30
            assert str(file["fingerprint"]) == tiny_encoders().fingerprint
    with pytest.raises(ValueError, match="float64"):
        export_catalogue(catalogue, tmp_path / "x.npz", dtype="float64")
    with pytest.raises(ValueError, match=r"should end in \.npz"):
        export_catalogue(catalogue, tmp_path / "x.npy")


def test_the_page_is_one_file_with_escaped_names(index, sketch, tmp_path):
    catalogue = Catalogue.open(index)
    name = "/some/<b>sketch</b>.png"
    path = write_hits(tmp_path / "page.html", catalogue, [(name, sketch)], [catalogue.search(sketch, top=31)])
    text = path.read_text()
    assert text.count("data:image/jpeg;base64,") == 32
    assert "<b>sketch" not in text
    assert "a copy &amp; &lt;more&gt;.png" in text
    assert "http" not in text
    assert describe(catalogue)["photos"] == 31


def test_the_page_says_how_it_was_searched(index, sketch, tmp_path):
    catalogue, options = Catalogue.open(index), {"clean": True, "rerank": True, "shortlist": 50, "reranked_by": "TRSM"}
    text = write_hits(tmp_path / "p.html", catalogue, [("x", preview_of(sketch))], [[]], options).read_text()
    assert "The first 50 photos by the cosine of sketch and photo were scored anew by TRSM" in text
    assert "The score is the cosine" not in text
    assert "cleaned first" in text
