import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import corpus
import numpy as np
import pytest

from effnet_jax.doctor import examine, list_folder
from effnet_jax.doctor.findings import KINDS
from effnet_jax.doctor.listing import list_splits
from effnet_jax.doctor.published import published_counts
from tfds_builders.procedural_garments.drawn import draw_garments

KNOWN = json.loads((Path(__file__).parent / "known_faults.json").read_text())
PLANTS = corpus.plants()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.Image.MAX_IMAGE_PIXELS", None)  # its warning comes before ours, and is an error here
        return examine(list_folder(corpus.write_corpus(tmp_path_factory.mktemp("corpus")))).report


def found(findings):
    return Counter((finding.kind, finding.files) for finding in findings)


def kinds(root):
    return Counter(finding.kind for finding in examine(list_folder(root)).report.findings)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_each_planted_fault_is_found_and_named(report, plant):
    assert plant.expected
    for expected in plant.expected:
        assert found(report.findings)[expected] == 1


def test_nothing_else_is_found(report):
    expected = Counter([finding for plant in PLANTS for finding in plant.expected] + corpus.BESIDES)
    assert found(report.findings) == expected


def test_the_corpus_is_large_enough():
    faults = [name for plant in PLANTS for name, _ in plant.expected if KINDS[name].severity == "fault"]
    assert len(PLANTS) + len(corpus.BESIDES) >= 90
    assert len(faults) + len(corpus.BESIDES) >= 60


def test_every_kind_is_planted_somewhere(report):
    elsewhere = {"missing", "unreadable", "counts", "known variant", "folders swapped", "no pairs",
                 "test photo elsewhere", "alike elsewhere", "not compared"}  # fmt: skip
    assert set(KINDS) - {finding.kind for finding in report.findings} == elsewhere | {"designers in both splits"}


def test_nothing_is_found_where_all_is_well(tmp_path):
    report = examine(list_folder(corpus.write(tmp_path, corpus.base()))).report
    assert (report.findings, report.counts) == ((), {"train": (9, 8), "test": (4, 4)})


def test_faults_come_first_and_carry_advice(report):
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities)
    assert len(report.faults) + len(report.notes) == len(report.findings)
    for entry in report.to_dict()["findings"]:
        assert entry["advice"] or entry["kind"] == "no pairs"
        assert entry["meaning"]
    json.dumps(report.to_dict())


def test_details_say_what_exactly(report):
    details = {(finding.kind, *finding.files): finding.detail for finding in report.findings}
    assert details["too large", "trainB/560.png"] == "10000 x 10000 pixels"
    assert "truncated" in details["damaged", "trainB/554.jpg"]
    assert details["name differs", "trainA/maryjane_1.png"] == "differs in case and spaces: rename it Mary Jane_1.png"
    assert details["ids nearly equal", "trainB/Boot7.jpg", "trainB/boot7.jpg"] == "differ in case"
    assert details["alike in both splits", "testB/605.jpg", "trainB/604.jpg"].endswith("mirrored")
    assert details["blank", "trainA/567_1.png"] == "all #ffffff once transparency shows white paper"


@pytest.mark.parametrize("folder", ["trainA", "trainB", "testA", "testB"])
def test_missing_folder(tmp_path, folder):
    corpus.write(tmp_path, corpus.base())
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    report = examine(list_folder(tmp_path)).report
    missing = [finding for finding in report.findings if finding.kind == "missing"]
    assert [finding.files for finding in missing] == [(folder,)]
    assert "elsewhere" in missing[0].detail


def test_missing_root(tmp_path):
    report = examine(list_folder(tmp_path / "none")).report
    assert [finding.kind for finding in report.findings] == ["missing", "missing"]


def test_folders_that_were_exchanged(tmp_path):
    files = {name: data for name, data in corpus.base().items() if not name.startswith("trainB/.")}
    exchange = {"trainA": "trainB", "trainB": "trainA"}
    swapped = {}
    for name, data in files.items():
        folder, _, rest = name.partition("/")
        swapped[f"{exchange.get(folder, folder)}/{rest}"] = data
    assert kinds(corpus.write(tmp_path, swapped)) == {"folders swapped": 1}


def test_not_one_pair(tmp_path):
    files = {"trainA/a_1.png": corpus.stored(corpus.sketch(1)), "trainB/b.jpg": corpus.jpeg(corpus.photo(1))}
    corpus.write(tmp_path, files)
    for folder in ("testA", "testB"):
        (tmp_path / folder).rmdir()
    assert kinds(tmp_path) == {"no pairs": 1, "no photo": 1, "no sketch": 1}


def test_designers_in_both_splits(tmp_path):
    files = {}
    for number, (folders, tags) in enumerate(
        [(("trainA", "trainB"), ("01", "06")), (("trainA", "trainB"), ("02",)), (("testA", "testB"), ("06", "07"))]
    ):
        files[f"{folders[1]}/{number}.jpg"] = corpus.jpeg(corpus.photo(number))
        for k, tag in enumerate(tags):
            files[f"{folders[0]}/{number}_{tag}.png"] = corpus.stored(corpus.sketch(10 * number + k))
    (finding,) = examine(list_folder(corpus.write(tmp_path, files))).report.findings
    assert finding.kind == "designers in both splits"
    assert finding.detail == "tags 06: 1 of 2 test sketches"


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    corpus.write(tmp_path, corpus.base())
    read = Path.read_bytes

    def refuse(path):
        if path.name == "3.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (finding,) = examine(list_folder(tmp_path)).report.findings
    assert (finding.kind, finding.files, finding.detail) == ("unreadable", ("trainB/3.jpg",), "Permission denied")


def test_records_of_a_built_set(built_split):
    train, test = built_split(11, 5, 0), built_split(8, 4, 1)
    report = examine(list_splits("fake", {"train": train, "test": test})).report
    assert report.counts == {"train": (11, 5), "test": (8, 4)}
    assert not report.faults
    twice = examine(list_splits("fake", {"train": train, "test": train})).report
    assert {finding.kind for finding in twice.faults} == {"same photo in both splits", "same sketch in both splits"}


@pytest.mark.parametrize("dataset", [name for name in KNOWN if name != "about"])
def test_published_files_have_the_known_faults_and_no_others(dataset):
    home = os.environ.get("EFFNET_DATA_DIR")
    if not home or not (Path(home) / dataset).is_dir():
        pytest.skip(f"$EFFNET_DATA_DIR/{dataset} is not there")
    report = examine(list_folder(Path(home) / dataset), published_counts(dataset)).report
    for severity in ("faults", "notes"):
        expected = {(entry["kind"], tuple(entry["files"])) for entry in KNOWN[dataset][severity]}
        assert set(found(getattr(report, severity))) == expected


@pytest.mark.slow
def test_the_procedural_garments_have_no_fault(tmp_path):
    splits, files = draw_garments()
    for name, split in splits.items():
        for role, parts in (("A", split.sketches), ("B", split.photos)):
            (tmp_path / f"{name}{role}").mkdir()
            for part in parts:
                (tmp_path / f"{name}{role}" / part.path.name).write_bytes(files[part.path])
    report = examine(list_folder(tmp_path), published_counts("procedural_garments")).report
    assert not report.faults
    # by design the designers are the same; 197 and 202 are one coat with two kinds of pockets, black on black
    assert found(report.notes) == {
        ("designers in both splits", ()): 1,
        ("alike", ("testB/00197.png", "testB/00202.png")): 1,
    }


def test_the_report_does_not_depend_on_how_many_threads_look(tmp_path, monkeypatch):
    corpus.write(tmp_path, {**corpus.base(), **{n: d for p in PLANTS[:20] for n, d in p.files.items()}})
    first = examine(list_folder(tmp_path)).report
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert examine(list_folder(tmp_path)).report == first


def test_runs_without_jax_and_tfds():
    unwanted = ("jax", "tensorflow_datasets", "grain")
    code = f"import sys, effnet_jax.doctor; print([m for m in {unwanted} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.fixture
def built_split():
    from fake_split import fake_split

    def make(sketches, photos, seed):
        split = fake_split(sketches, photos, seed)
        assert len(np.unique(split.photo_sha256)) == photos
        return split

    return make
