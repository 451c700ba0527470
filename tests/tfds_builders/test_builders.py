import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import dataset_metadata

import tfds_builders
from effnet_jax.data.builders import find_builder
from effnet_jax.data.folders import DataError, FolderSplit, PhotoFile, SketchFile
from effnet_jax.data.loading import load_split
from tfds_builders.base import check_counts
from tfds_builders.procedural_garments import drawn

PACKAGE = Path(tfds_builders.__file__).parent


def fill(root: Path, counts: dict[str, tuple[int, int]], tags=lambda k, photos: f"{k // photos + 1}") -> Path:
    for split, (sketches, photos) in counts.items():
        for folder in ("A", "B"):
            (root / f"{split}{folder}").mkdir(parents=True)
        offset = 0 if split == "train" else 5000
        Image.new("RGB", (2, 2), (offset % 255, 1, 2)).save(root / "one.png")
        data = (root / "one.png").read_bytes()
        for k in range(photos):
            (root / f"{split}B" / f"{offset + k}.png").write_bytes(data)
        for k in range(sketches):
            (root / f"{split}A" / f"{offset + k % photos}_{tags(k, photos)}.png").write_bytes(data)
    return root


@pytest.mark.parametrize("name", tfds_builders.DATASETS)
def test_every_data_set_follows_the_conventions(name, tmp_path):
    folder = PACKAGE / name
    found = {path.name for path in folder.iterdir() if path.is_file()}
    generator = {"drawn.py"} if name == "procedural_garments" else set()
    convention = {f"{name}_dataset_builder.py", "__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt"}
    assert found == convention | generator
    metadata = find_builder(name).get_metadata()
    assert metadata.description.strip() and metadata.tags
    assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
    assert name in (PACKAGE.parent / "docs" / "data.md").read_text()
    builder = tfds.builder(name, data_dir=tmp_path, file_format="array_record")
    assert builder.name == name
    assert set(builder.info.features) == {"sketch", "photo", "sketch_id", "photo_id", "tag"}


@pytest.mark.parametrize("name", ["clothes_v1", "qmul_chair_v1", "qmul_chair_v2", "qmul_shoe_v1", "qmul_shoe_v1/all"])
def test_published_counts_build(name, tmp_path, caplog):
    builder, form = find_builder(name.partition("/")[0]), name.partition("/")[2]
    config = {config.name: config for config in builder.BUILDER_CONFIGS}.get(form)
    counts = (config.counts if config else builder.COUNTS) or {"train": (304, 304), "test": (115, 115)}
    source = fill(tmp_path / "source", counts)
    for split, (sketches, photos) in counts.items():
        loaded = load_split(name, split, source_dir=source, tfds_dir=tmp_path / "tfds")
        assert (len(loaded.sketch_ids), len(loaded.photo_ids)) == (sketches, photos)
    assert "say so beside its results" not in caplog.text


def splits(counts):
    def split(name, sketches, photos):
        return FolderSplit(
            name,
            tuple(SketchFile(f"{k}_1", f"{k}", "1", Path(f"{k}_1.png")) for k in range(sketches)),
            tuple(PhotoFile(f"{k}", Path(f"{k}.png")) for k in range(photos)),
        )

    return {name: split(name, *pair) for name, pair in counts.items()}


def test_known_variants_are_named_in_a_warning(caplog):
    builder = find_builder("qmul_chair_v2")
    variant = {"train": (952, 300), "test": (323, 100)}
    check_counts("qmul_chair_v2", splits(variant), builder.COUNTS, builder.VARIANTS)
    assert "second public copy" in caplog.text and "964" in caplog.text and "952" in caplog.text
    builder = find_builder("qmul_shoe_v2")
    check_counts("qmul_shoe_v2", splits({"train": (6051, 1800), "test": (679, 200)}), builder.COUNTS, builder.VARIANTS)
    assert "6730 sketches" in caplog.text


def test_unknown_counts_say_both_and_the_way_out():
    builder = find_builder("qmul_shoe_v2")
    with pytest.raises(DataError) as caught:
        check_counts("qmul_shoe_v2", splits({"train": (10, 5), "test": (3, 2)}), builder.COUNTS, builder.VARIANTS)
    for part in ("train 10 sketches / 5 photos", "train 5982", "6051", "sketch_photo_folder"):
        assert part in str(caught.value)


def test_shoes_with_and_without_further_sketches(tmp_path):
    source = fill(tmp_path / "source", {"train": (1207, 304), "test": (115, 115)})
    single = load_split("qmul_shoe_v1", "train", source_dir=source, tfds_dir=tmp_path / "tfds")
    everything = load_split("qmul_shoe_v1/all", "train", source_dir=source, tfds_dir=tmp_path / "tfds")
    assert set(single.tags) == {"1"} and len(single.sketch_ids) == 304 == len(single.photo_ids)
    assert set(everything.tags) == {"1", "2", "3", "4"} and len(everything.sketch_ids) == 1207
    assert single.photo_ids == everything.photo_ids


def test_same_photo_in_training_and_test_is_pointed_out(tmp_path, caplog):
    source = fill(tmp_path / "source", {"train": (3, 3), "test": (2, 2)})
    (source / "testB" / "5001.png").write_bytes((source / "trainB" / "2.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        load_split("sketch_photo_folder", "test", source_dir=source, tfds_dir=tmp_path / "tfds")
    assert "trainB/" in caplog.text and "= testB/5001.png" in caplog.text


def test_plain_tfds_use(tmp_path):
    """What docs/data.md shows to users of TFDS: build by name, all splits, decoded by TFDS itself."""
    source = fill(tmp_path / "data", {"train": (4, 3), "test": (2, 2)})
    Image.new("L", (4, 3), 7).save(source / "trainB" / "0.png")
    data = tfds.data_source(
        "sketch_photo_folder",
        data_dir=tmp_path / "tfds",
        builder_kwargs={"file_format": "array_record"},
        download_and_prepare_kwargs={"download_config": tfds.download.DownloadConfig(manual_dir=source)},
    )
    assert {name: len(split) for name, split in data.items()} == {
        "train": 4, "train_gallery": 3, "test": 2, "test_gallery": 2,
    }  # fmt: skip
    record = data["train"][0]
    assert (record["sketch_id"], record["photo_id"], record["tag"]) == (b"0_1", b"0", b"1")
    assert record["sketch"].shape == (2, 2, 3)
    np.testing.assert_array_equal(record["photo"], np.full((3, 4, 3), 7, np.uint8))
    assert data["test_gallery"][1]["photo_id"] == b"5001"


def test_manual_folder_of_tfds(tmp_path):
    fill(tmp_path / "tfds" / "downloads" / "manual" / "sketch_photo_folder", {"train": (4, 3), "test": (2, 2)})
    builder = tfds.builder("sketch_photo_folder", data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == 4
    assert tfds.builder_from_directory(builder.data_dir).info.disable_shuffling


def test_names_of_folder_forms(tmp_path):
    for path in ("a/köln & co", "b/köln & co"):
        (tmp_path / path / "testA").mkdir(parents=True)
    forms = find_builder("sketch_photo_folder").forms
    (one,), (two,) = forms("", tmp_path / "a/köln & co", 0), forms("", tmp_path / "b/köln & co", 0)
    assert one.name != two.name and one.name.startswith("k-ln-co_")
    assert [c.name for c in forms("", tmp_path / "a/köln & co", 3)] == [one.name]
    (tmp_path / "c").mkdir()
    assert forms("", tmp_path / "c", 3)[0].name.endswith("_seed3")
    assert len(forms("", tmp_path / "gone", 0)) == 2


class _TinySet:
    def photo(self, photo_id):
        return np.full((4, 4, 3), int(photo_id) % 256, np.uint8)

    def sketch(self, sketch_id):
        return np.full((4, 4, 3), 255 - int(sketch_id.partition("_")[0]) % 256, np.uint8)


def test_procedural_garments(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "_garment_set", lambda seed: _TinySet())
    draw = drawn.draw_garments
    monkeypatch.setattr(drawn, "draw_garments", lambda: draw(0, workers=0))
    loaded = {name: load_split("procedural_garments", name, tfds_dir=tmp_path) for name in ("train", "test")}
    assert {name: (len(s.sketch_ids), len(s.photo_ids)) for name, s in loaded.items()} == {
        "train": (925, 380),
        "test": (275, 120),
    }
    assert not set(loaded["train"].photo_ids) & set(loaded["test"].photo_ids)
    assert set(loaded["train"].tags) == {f"{k:02d}" for k in range(1, 8)}
    for split in loaded.values():
        assert list(split.sketch_ids) == sorted(split.sketch_ids) and list(split.photo_ids) == sorted(split.photo_ids)
        for i in range(5):
            assert split.photo_ids[split.photo_index[i]] == split.sketch_ids[i].rpartition("_")[0]
            assert split.sketch(i)[0, 0, 0] == 255 - split.photo(int(split.photo_index[i]))[0, 0, 0]
    stored = sorted(tmp_path.rglob("*.array_record*"))
    times = [path.stat().st_mtime_ns for path in stored]
    load_split("procedural_garments", "train", tfds_dir=tmp_path)
    assert [path.stat().st_mtime_ns for path in stored] == times
    monkeypatch.setattr("tfds_builders.procedural_garments.garments.GENERATOR_SHA256", "another")
    load_split("procedural_garments", "train", tfds_dir=tmp_path)
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.array_record*"))] != times
