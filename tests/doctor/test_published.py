import pytest

from effnet_jax.doctor.published import check_counts, published_counts


@pytest.mark.parametrize(
    ("dataset", "found", "kind"),
    [
        ("qmul_shoe_v2", {"train": (5982, 1800), "test": (666, 200)}, None),
        ("qmul_shoe_v2", {"train": (6051, 1800), "test": (679, 200)}, "known variant"),
        ("qmul_shoe_v2", {"train": (5981, 1800), "test": (666, 200)}, "counts"),
        ("qmul_chair_v2", {"train": (964, 300), "test": (311, 100)}, None),
        ("qmul_chair_v2", {"train": (952, 300), "test": (323, 100)}, "known variant"),
        ("qmul_chair_v2", {"train": (952, 300)}, "counts"),
        ("clothes_v1", {"train": (925, 380), "test": (275, 120)}, None),
        ("clothes_v1", {"train": (275, 120), "test": (925, 380)}, "counts"),
        ("qmul_chair_v1", {"train": (200, 200), "test": (97, 97)}, None),
        ("qmul_shoe_v1", {"train": (1207, 304), "test": (115, 115)}, None),
        ("qmul_shoe_v1", {"train": (304, 304), "test": (115, 115)}, None),
        ("qmul_shoe_v1", {"train": (304, 304), "test": (114, 115)}, "counts"),
        ("procedural_garments", {"train": (925, 380), "test": (275, 120)}, None),
    ],
)
def test_counts_are_held_against_the_published_ones(dataset, found, kind):
    findings = check_counts(found, published_counts(dataset))
    assert [finding.kind for finding in findings] == ([] if kind is None else [kind])
    for finding in findings:
        assert f"train {found['train'][0]} sketches / {found['train'][1]} photos" in finding.detail


def test_folders_of_ones_own_have_no_published_counts():
    assert published_counts("sketch_photo_folder") is None
    assert published_counts("my_data") is None
    assert check_counts({"train": (1, 1)}, None) == []
