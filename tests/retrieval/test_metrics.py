import json

import numpy as np
import pytest

from effnet_jax.retrieval.metrics import photo_to_sketch, reciprocal_rank, summarise
from effnet_jax.retrieval.ranking import Ranking, rank_gallery


def made_ranking(better, tied, candidates=20):
    s = len(better)
    return Ranking(
        np.array(better, np.int32),
        np.array(tied, np.int32),
        np.full(s, candidates, np.int32),
        np.zeros((s, 0), np.int32),
        np.zeros((s, 0), np.float32),
    )


def test_figures_of_a_small_ranking():
    summary = summarise(made_ranking([0, 0, 4, 9], [0, 1, 0, 0]), np.array([0, 0, 1, 2]), ks=(1, 5, 10))
    assert (summary.queries, summary.gallery, summary.query_photos) == (4, 20, 3)
    assert [summary.accuracy[k].value for k in (1, 5, 10)] == [1.5 / 4, 3 / 4, 1]
    assert summary.mrr.value == pytest.approx((1 + 0.75 + 1 / 5 + 1 / 10) / 4)
    assert summary.mean_rank == pytest.approx((1 + 1.5 + 5 + 10) / 4)
    assert summary.median_rank == pytest.approx((1.5 + 5) / 2)
    assert summary.notes == ()
    for measure in (*summary.accuracy.values(), summary.mrr):
        assert 0 <= measure.low <= measure.value <= measure.high <= 1
    assert str(summary.accuracy[1]).startswith("37.5 [")
    assert str(summary.accuracy[5]).startswith("75.0 [")


def test_reciprocal_rank_is_the_mean_over_orders_of_ties():
    better, tied = np.array([0, 2, 5]), np.array([3, 1, 0])
    expected = [np.mean(1 / np.arange(r + 1, r + t + 2)) for r, t in zip(better, tied, strict=True)]
    np.testing.assert_allclose(reciprocal_rank(better, tied), expected, rtol=1e-12)
    assert reciprocal_rank(np.array([0]), np.array([0]))[0] == 1


def test_k_beyond_the_gallery_is_left_out_with_a_note():
    summary = summarise(made_ranking([0, 1], [0, 0], candidates=4), np.arange(2), ks=(1, 5, 10))
    assert list(summary.accuracy) == [1]
    assert summary.notes == ("Acc@5, Acc@10 left out: the gallery offers 4 candidates.",)


def test_a_constant_embedding_scores_chance():
    summary = summarise(
        rank_gallery(np.ones((275, 16)), np.ones((120, 16)), np.arange(275) % 120), np.arange(275) % 120
    )
    for k in (1, 5, 10):
        assert summary.accuracy[k].value == pytest.approx(k / 120)
        assert summary.accuracy[k].low < k / 120 < summary.accuracy[k].high
    assert summary.mean_rank == 1 + 119 / 2


def test_tags_have_their_own_counts():
    tags = ["02", "01", "01", "02", "01"]
    summary = summarise(made_ranking([0, 0, 3, 0, 0], [0] * 5), np.arange(5), tags=tags, ks=(1,))
    assert list(summary.tags) == ["01", "02"]
    assert {tag: part.queries for tag, part in summary.tags.items()} == {"01": 3, "02": 2}
    assert summary.tags["01"].accuracy[1].value == pytest.approx(2 / 3)
    assert summary.tags["02"].accuracy[1].value == 1
    total = sum(part.queries * part.accuracy[1].value for part in summary.tags.values())
    assert total == pytest.approx(5 * summary.accuracy[1].value)


def test_json_is_plain():
    summary = summarise(made_ranking([0, 2], [0, 0]), np.array([7, 8]), tags=["a", "b"])
    content = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert content["acc@1"]["value"] == 0.5
    assert len(content["acc@1"]["interval_95"]) == 2
    assert content["tags"]["a"]["queries"] == 1


def test_photo_to_sketch_counts_photos():
    photos = np.eye(4, dtype=np.float32)
    sketches = photos[[0, 0, 2, 1, 1]]
    sketches[3] = photos[2]  # of photo 1, but it looks like photo 2; the second sketch of photo 1 is right
    summary = photo_to_sketch(sketches, photos, np.array([0, 0, 2, 1, 1]), ks=(1, 3, 5))
    assert (summary.queries, summary.gallery, summary.query_photos) == (3, 5, 3)
    assert summary.accuracy[1].value == pytest.approx((1 + 1 + 0.5) / 3)  # photo 2 ties with the stray sketch
    assert any("1 of 4 photos have no sketch" in note for note in summary.notes)
    assert any("Acc@5 left out" in note for note in summary.notes)


@pytest.mark.usefixtures("unchecked")
def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 queries, 3 photos"):
        summarise(made_ranking([0, 0], [0, 0]), np.arange(3))
    with pytest.raises(ValueError, match="2 photos and 1 tags"):
        summarise(made_ranking([0, 0], [0, 0]), np.arange(2), tags=["x"])
