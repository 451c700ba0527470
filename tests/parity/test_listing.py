"""Which sketch belongs to which photo, on the file names of the golden cases.

The golden lists are those of the original's patterns. Where these are wrong, ours is right, and each case says how.
"""

import json
from pathlib import Path

import pytest
from PIL import Image

from effnet_jax.data.folders import DataError, read_folder

CASES = json.loads((Path(__file__).parent / "goldens" / "listing_cases.json").read_text())


def listed(tmp_path, case, leave_out=()):
    for folder, names in (("trainA", case["sketches"]), ("trainB", case["photos"])):
        (tmp_path / folder).mkdir()
        for name in names:
            if f"{folder}/{name}" not in leave_out:
                Image.new("RGB", (2, 2)).save(tmp_path / folder / name)
    train = read_folder(tmp_path)["train"]
    photo = {p.photo_id: p.path.name for p in train.photos}
    return [[s.path.name, photo[s.photo_id]] for s in train.sketches]


def refused(tmp_path, case):
    with pytest.raises(DataError) as caught:
        listed(tmp_path, case)
    return {cause: [Path(path).name for path in paths] for cause, paths in caught.value.problems.items()}


def test_case_0_doubtful_names_are_refused_and_long_tags_kept(tmp_path):
    case = CASES[0]
    (tmp_path / "all").mkdir()
    assert refused(tmp_path / "all", case) == {
        "no underscore": ["00067.png"],
        "empty tag": ["00066_.png"],
        "sketch twice": ["00066_1.PNG", "00066_1.jpg", "00066_1.png"],
    }
    (tmp_path / "clean").mkdir()
    ours = listed(
        tmp_path / "clean",
        case,
        {f"trainA/{name}" for name in ("00067.png", "00066_.png", "00066_1.PNG", "00066_1.jpg")},
    )
    # The star pattern of the original also takes the sketch without a tag; else both agree.
    assert ours == [pair for pair in case["train_star"] if pair[0] != "00066_.png"]
    # Its one-character pattern loses the sketches 00066_01, 00066_06 and 00067_10.
    lost = [pair for pair in ours if pair not in case["train_question"]]
    assert [sketch for sketch, _ in lost] == ["00066_01.png", "00066_06.png", "00067_10.png"]


def test_case_1_a_photo_does_not_take_the_sketches_of_a_longer_id(tmp_path):
    case = CASES[1]
    ours = listed(tmp_path, case)
    assert ours == [
        ["12_1.png", "12.png"],
        ["1_1.png", "1.png"],
        ["1_10.png", "1.png"],
        ["1_2.png", "1.png"],
        ["1_2_1.png", "1_2.png"],
        ["1_2_3.png", "1_2.png"],
    ]
    wrong = [pair for pair in case["train_star"] if pair not in ours]
    assert wrong == [["1_2_1.png", "1.png"], ["1_2_3.png", "1.png"]]  # counted twice by the original
    assert [pair for pair in ours if pair not in case["train_question"]] == [["1_10.png", "1.png"]]  # lost by it


def test_case_2_the_stem_ends_at_the_last_dot(tmp_path):
    case = CASES[2]
    # `chair_2.x.png` is the sketch "2.x" of chair; the original looks for chair_2.png, which does not exist.
    assert listed(tmp_path, case) == [
        ["chair.v2_1.png", "chair.v2.png"],
        ["chair_1.png", "chair.png"],
        ["chair_2.x.png", "chair.png"],
    ]
    assert ["chair_1.png", "chair.v2.png"] in case["train_question"]  # a pair that never was
    assert case["missing_files_star"]


def test_case_3_an_id_used_twice_is_refused(tmp_path):
    case = CASES[3]
    (tmp_path / "all").mkdir()
    assert refused(tmp_path / "all", case) == {"photo twice": ["a.jpg", "a.png"]}
    (tmp_path / "clean").mkdir()
    ours = listed(tmp_path / "clean", case, {"trainB/a.jpg"})
    assert ours == [["a_1.png", "a.png"], ["a_2.png", "a.png"], ["b_1.png", "b.JPG"]]
    assert all(pair in case["train_question"] for pair in ours)


def test_case_4_brackets_in_names_are_no_pattern(tmp_path):
    case = CASES[4]
    (tmp_path / "all").mkdir()
    assert refused(tmp_path / "all", case) == {"no photo": ["x1_1.png"]}
    (tmp_path / "clean").mkdir()
    ours = listed(tmp_path / "clean", case, {"trainA/x1_1.png"})
    assert ours == [["x[1]_1.png", "x[1].png"], ["y_1.png", "y.png"]]
    assert ["x1_1.png", "x[1].png"] in case["train_question"]  # the original reads [1] as a pattern


def test_case_5_sketches_without_a_photo_are_refused(tmp_path):
    case = CASES[5]
    assert refused(tmp_path, case) == {"no photo": ["r_1.png"], "no pairs": ["trainA"]}
    assert case["train_star"] == []  # the original drops them without a word


def test_every_case_is_covered():
    assert len(CASES) == 6
