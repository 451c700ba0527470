import hashlib
import io
import json
import os
from collections import Counter
from pathlib import Path

import corpus
import pytest
from PIL import Image

from effnet_jax.data.folders import read_folder
from effnet_jax.data.problems import DataError
from effnet_jax.doctor import examine, list_folder
from effnet_jax.doctor.clean_copy import CHANGES, write_clean_copy
from effnet_jax.doctor.listing import list_splits
from effnet_jax.doctor.repair import plan_repairs
from effnet_jax.images.decode import decode_rgb


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def cleaned(tmp_path, files, **folders):
    root = corpus.write(tmp_path / "in", {**corpus.base(), **files})
    write_clean_copy(examine(list_folder(root)), tmp_path / "out")
    copy = contents(tmp_path / "out")
    expected = contents(corpus.write(tmp_path / "plain", corpus.base()))
    copy.pop(CHANGES)
    expected.pop("trainB/.DS_Store")
    return (copy.keys() - expected.keys()), (expected.keys() - copy.keys())


@pytest.fixture(scope="module")
def repaired(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.Image.MAX_IMAGE_PIXELS", None)
        root = corpus.write_corpus(tmp_path_factory.mktemp("corpus"))
        before = contents(root)
        target = tmp_path_factory.mktemp("out") / "new" / "copy"
        fates = write_clean_copy(examine(list_folder(root)), target)
    return root, before, target, fates


def test_the_copy_has_no_fault(repaired):
    _, _, target, _ = repaired
    report = examine(list_folder(target)).report
    assert report.faults == ()
    assert not {"fragile name", "transparent", "rotated", "animated", "unusual colours", "wrong extension"} & {
        finding.kind for finding in report.findings
    }
    splits = read_folder(target)
    assert {name: (len(s.sketches), len(s.photos)) for name, s in splits.items()} == report.counts


def test_the_folder_itself_is_not_touched(repaired):
    root, before, _, _ = repaired
    assert contents(root) == before


def test_what_was_good_is_there_byte_for_byte(repaired):
    _, before, target, _ = repaired
    after = contents(target)
    good = {name for name in corpus.base() if not name.endswith(".DS_Store")}
    assert {name: after.get(name) for name in good} == {name: before[name] for name in good}


def test_every_file_is_accounted_for(repaired):
    _, before, target, fates = repaired
    written = json.loads((target / CHANGES).read_text())
    changed = {change["source"]: change for change in written["changes"]}
    assert all(change["why"] for change in changed.values())
    there = contents(target)
    assert len(there) == written["kept"] + 1
    assert Counter(fate.left_out for fate in fates)[False] == written["kept"]
    for name in before:
        shown = name.encode("utf-8", "backslashreplace").decode()
        if shown.endswith(".DS_Store"):
            continue
        if shown in changed:
            assert changed[shown]["target"] is None or changed[shown]["target"] in there
        else:
            assert there[name] == before[name]


def test_pictures_stored_anew_look_the_same(repaired):
    _, _, target, fates = repaired
    converted = [fate for fate in fates if fate.convert and not fate.left_out]
    assert len(converted) >= 6
    for fate in converted:
        assert (decode_rgb(target / fate.target) == decode_rgb(fate.file.path)).all()
        with Image.open(target / fate.target) as image:
            assert (image.mode, image.format) == ("RGB", "PNG")


def test_photo_in_both_splits_stays_in_test(tmp_path):
    one, other = corpus.pair(20), corpus.pair(21, folders=("testA", "testB"))
    added, lost = cleaned(tmp_path, {**one, **other, "testB/21.jpg": one["trainB/20.jpg"]})
    assert added == {"testA/21_1.png", "testB/21.jpg"}
    assert not lost


def test_photo_under_two_ids_keeps_both_sketches(tmp_path):
    added, _ = cleaned(
        tmp_path, {**corpus.pair(22), **corpus.pair(23), "trainB/23.jpg": corpus.pair(22)["trainB/22.jpg"]}
    )
    assert added == {"trainB/22.jpg", "trainA/22_1.png", "trainA/22_2.png"}


def test_two_different_photos_of_one_id_are_left_out_with_their_sketches(tmp_path):
    added, lost = cleaned(tmp_path, {"trainB/3.png": corpus.stored(corpus.photo(99))})
    assert not added
    assert lost == {"trainA/3_1.png", "trainB/3.jpg"}


def test_one_photo_in_two_formats_is_kept_once(tmp_path):
    picture = Image.open(io.BytesIO(corpus.base()["trainB/3.jpg"]))
    added, lost = cleaned(tmp_path, {"trainB/3.png": corpus.stored(picture)})
    assert not added and not lost


def test_a_second_drawing_under_one_name_gets_the_next_number(tmp_path):
    added, lost = cleaned(tmp_path, {"trainA/1_1.jpg": corpus.jpeg(corpus.sketch(50))})
    # 1_1.jpg comes first and keeps its name; 1_2.png is another drawing, so the old 1_1.png becomes 1_3.png
    assert added == {"trainA/1_1.jpg", "trainA/1_3.png"}
    assert lost == {"trainA/1_1.png"}


def test_misplaced_sketch_is_moved(tmp_path):
    added, lost = cleaned(tmp_path, {"testA/5_2.png": corpus.stored(corpus.sketch(60))})
    assert added == {"trainA/5_2.png"} and not lost


def test_exchanged_folders_are_exchanged_back(tmp_path):
    files = {name: data for name, data in corpus.base().items() if not name.endswith(".DS_Store")}
    root = tmp_path / "in"
    corpus.write(root, files)
    (root / "trainA").rename(root / "x")
    (root / "trainB").rename(root / "trainA")
    (root / "x").rename(root / "trainB")
    write_clean_copy(examine(list_folder(root)), tmp_path / "out")
    copy = contents(tmp_path / "out")
    copy.pop(CHANGES)
    assert copy == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_a_target_that_is_taken_is_refused(tmp_path, taken):
    root = corpus.write(tmp_path / "in", corpus.base())
    target = tmp_path / "out"
    if taken == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="exists already"):
        write_clean_copy(examine(list_folder(root)), target)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("inside", ["", "clean", "trainA/clean"])
def test_a_target_inside_the_folder_is_refused(tmp_path, inside):
    root = corpus.write(tmp_path / "in", corpus.base())
    with pytest.raises(DataError, match="never written to"):
        write_clean_copy(examine(list_folder(root)), root / inside)
    assert not (root / "clean").exists()


def test_an_empty_folder_may_be_the_target(tmp_path):
    root = corpus.write(tmp_path / "in", corpus.base())
    (tmp_path / "out").mkdir()
    write_clean_copy(examine(list_folder(root)), tmp_path / "out")
    assert (tmp_path / "out" / "trainA" / "1_1.png").is_file()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    root = corpus.write(tmp_path / "in", corpus.base())
    examination = examine(list_folder(root))

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_clean_copy(examination, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_nothing_left_is_refused(tmp_path):
    root = corpus.write(tmp_path / "in", {"trainA/a_1.png": b"", "trainB/a.jpg": corpus.jpeg(corpus.photo(1))})
    with pytest.raises(DataError, match="no sketch with its photo would be left"):
        write_clean_copy(examine(list_folder(root)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_built_set_is_refused():
    from fake_split import fake_split

    with pytest.raises(DataError, match="a folder only"):
        plan_repairs(examine(list_splits("fake", {"train": fake_split()})))
