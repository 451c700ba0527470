import unicodedata
from pathlib import Path

import corpus
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from effnet_jax.doctor import list_folder
from effnet_jax.doctor.leakage import tags_are_people
from effnet_jax.doctor.name_faults import check_names, spelling_difference

PNG = corpus.stored(corpus.sketch(1))


def listed(root: Path, **folders: list[str]):
    corpus.write(root, {f"{folder}/{name}": PNG for folder, names in folders.items() for name in names})
    return list_folder(root)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("Boot", "boot", ("case",)),
        ("a b", "ab", ("spaces",)),
        ("007", "7", ("leading zeros",)),
        ("x-1", "x_1", ("hyphens, dots and underscores",)),
        ("é", "e\u0301", ("Unicode form",)),
        ("A 01", "a1", ("case", "spaces", "leading zeros")),
        ("same", "same", ()),
        ("1", "2", None),
        ("100", "1", None),
        ("10", "1_0", ("hyphens, dots and underscores",)),
        ("a", "b", None),
        (" ", "", None),
    ],
)
def test_spelling_difference(one, other, difference):
    assert spelling_difference(one, other) == difference


@settings(deadline=None)
@example("\u01f0", 0)  # its lower case is decomposed
@given(st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=12), st.integers(0, 10**6))
def test_spelling_is_forgiven_and_named(text, number):
    name = f"{text}{number}"
    assert spelling_difference(name, name) == ()
    assert spelling_difference(name, f"{text}00{number}") == ("leading zeros",)
    assert spelling_difference(name, f"{text} {number}") == ("spaces",)
    assert spelling_difference(name, f"{text}_{number}") == ("hyphens, dots and underscores",)
    decomposed = unicodedata.normalize("NFD", name)
    assert spelling_difference(name, decomposed) == (() if decomposed == name else ("Unicode form",))
    assert spelling_difference(name, f"{text}{number + 1}") is None


@settings(deadline=None)
@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_spelling_difference_is_symmetric(one, other):
    assert spelling_difference(one, other) == spelling_difference(other, one)


def test_the_smallest_difference_wins(tmp_path):
    listing = listed(tmp_path, trainB=["Boot.png", "b-oot.png"], trainA=["Boot_1.png", "b-oot_1.png", "boot_2.png"])
    names = check_names(listing)
    assert names.proposed == {}  # case and a hyphen are one step each: nothing is certain
    (finding,) = [finding for finding in names.findings if finding.kind == "no photo"]
    assert finding.files == ("trainA/boot_2.png",)
    assert finding.detail == "could belong to Boot, b-oot"


def test_a_name_that_pairs_is_left_alone(tmp_path):
    listing = listed(tmp_path, trainB=["1.png", "1_2.png", "01.png"], trainA=["1_2_1.png", "1_1.png", "01_1.png"])
    names = check_names(listing)
    assert names.proposed == {}
    assert [finding.kind for finding in names.findings] == ["ids nearly equal", "no pairs"]  # the test part is empty


def test_a_photo_drawn_under_another_spelling_counts_as_drawn(tmp_path):
    listing = listed(tmp_path, trainB=["Pump.png", "1.png"], trainA=["pump_1.png", "1_1.png"])
    names = check_names(listing)
    assert names.proposed == {"trainA/pump_1.png": "Pump_1"}
    assert "no sketch" not in {finding.kind for finding in names.findings}


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (["1_1.png", "2_1.png"], False),
        (["1_1.png", "1_2.png", "2_1.png"], False),
        (["1_01.png", "1_02.png"], False),
        (["1_01.png", "1_06.png"], True),
        (["1_anna.png", "2_1.png"], True),
        (["3_9.png", "1_1.png"], False),  # a sketch without a photo does not count
    ],
)
def test_tags_that_count_are_no_people(tmp_path, names, people):
    assert tags_are_people(listed(tmp_path, trainA=names, trainB=["1.png", "2.png"])) is people


def test_names_are_shown_relative_to_the_folder(tmp_path):
    listing = listed(tmp_path, trainA=["1_1.png"], trainB=["1.png"], testA=["2_a_b.png"], testB=["2_a.png"])
    assert [(f.name, f.split, f.role, f.photo_id, f.tag) for f in listing.files] == [
        ("trainA/1_1.png", "train", "sketch", "1", "1"),
        ("trainB/1.png", "train", "photo", "1", ""),
        ("testA/2_a_b.png", "test", "sketch", "2_a", "b"),
        ("testB/2_a.png", "test", "photo", "2_a", ""),
    ]
