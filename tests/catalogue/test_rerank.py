import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from tiny import draw_pair, tiny_encoders, write_photos

from effnet_jax.catalogue.build import build_catalogue
from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.catalogue.rerank import Reranker
from effnet_jax.config import LateConfig, TrsmConfig
from effnet_jax.encoders.encoders import PairModule, read_encoders
from effnet_jax.images.preprocessing import resize
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.retrieval.late_interaction import inked_patches, near


@pytest.fixture(scope="module")
def stage_2():
    encoders, config = tiny_encoders(), TrsmConfig(enabled=True, heads=2, weight=0.75)
    trsm = make_functional_trsm(encoders.config, config)
    params = jax.tree.map(lambda x: np.asarray(x) * 4, jax.jit(trsm.init)(jax.random.key(3)))
    return dataclasses.replace(encoders, pair_module=PairModule(config, params)), trsm


@pytest.fixture(scope="module")
def index(stage_2, tmp_path_factory):
    root = tmp_path_factory.mktemp("rerank")
    write_photos(root / "photos", range(20))
    build_catalogue([root / "photos"], root / "index", stage_2[0], tokens=True, batch_size=8, part_photos=8)
    return root / "index"


def test_scores_are_those_of_the_plain_module_mixed_with_the_cosine(index, stage_2):
    encoders, trsm = stage_2
    catalogue = Catalogue.open(index)
    assert catalogue.reranked_by == "TRSM, mixed with the cosine (trsm.weight=0.75)"
    sketches = [np.asarray(draw_pair(i)[1].convert("RGB")) for i in (3, 8)]
    found = catalogue.search_many(sketches, top=4, rerank=True, shortlist=7)
    for sketch, hits in zip(sketches, found, strict=True):
        before = catalogue.search(sketch, top=7)
        rows = [hit.row for hit in before]
        photos = catalogue.tokens(rows).astype(np.float32)
        tokens = encoders.sketch_tokens(resize(sketch, 32)[None]).astype(np.float32).repeat(7, axis=0)
        pair = jax.jit(trsm.call(TRSM.__call__))(encoders.pair_module.params, photos, tokens)
        a, b = np.asarray(pair.sketch_embedding), np.asarray(pair.photo_embedding)
        alone = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        scores = 0.25 * np.array([hit.score for hit in before]) + 0.75 * alone
        order = np.argsort(-scores, kind="stable")[:4]
        assert [hit.row for hit in hits] == [rows[i] for i in order]
        np.testing.assert_allclose([hit.score for hit in hits], scores[order], atol=1e-5)
        assert [hit.rank for hit in hits] == [1, 2, 3, 4]


def test_the_shortlist_is_never_shorter_than_what_is_asked_for(index):
    sketch = draw_pair(5)[1]
    hits = Catalogue.open(index).search(sketch, top=12, rerank=True, shortlist=2)
    assert len({hit.row for hit in hits}) == 12


def test_saved_with_the_index(index, stage_2):
    loaded = read_encoders(index / "model")
    assert loaded.fingerprint == stage_2[0].fingerprint == tiny_encoders().fingerprint
    assert loaded.pair_module is not None
    assert loaded.pair_module.config == stage_2[0].pair_module.config
    theirs, ours = jax.tree.leaves(stage_2[0].pair_module.params), jax.tree.leaves(loaded.pair_module.params)
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_index_from_before_weights_were_chosen_is_scored_by_trsm_alone(index, tmp_path):
    shutil.copytree(index / "model", tmp_path / "model")
    content = json.loads((tmp_path / "model" / "model.json").read_text())
    del content["trsm"]["choose_weight"]
    for weight in (0.5, None):
        content["trsm"]["weight"] = weight
        if weight is None:
            del content["trsm"]["weight"]
        (tmp_path / "model" / "model.json").write_text(json.dumps(content))
        assert read_encoders(tmp_path / "model").pair_module.config.weight == 1.0


def test_an_index_without_tokens_says_so_and_can_be_brought_up(stage_2, tmp_path):
    write_photos(tmp_path / "photos", range(3))
    index = tmp_path / "index"
    build_catalogue([tmp_path / "photos"], index, tiny_encoders())
    with pytest.raises(ValueError, match="keeps no tokens to re-rank by"):
        Catalogue.open(index).search(draw_pair(0)[1], rerank=True)
    build_catalogue([], index, tokens=True)
    assert len(Catalogue.open(index).search(draw_pair(0)[1], rerank=True)) == 3  # by its patches
    assert build_catalogue([], index, stage_2[0]).embedded == 0
    assert len(Catalogue.open(index).search(draw_pair(0)[1], rerank=True)) == 3


def test_without_trsm_patches_are_compared_and_mixed_with_the_cosine(tmp_path):
    encoders = dataclasses.replace(tiny_encoders(image_size=64), late=LateConfig(window=2.0, weight=0.75, scale=3.0))
    write_photos(tmp_path / "photos", range(12))
    build_catalogue([tmp_path / "photos"], tmp_path / "index", encoders, tokens=True)
    catalogue = Catalogue.open(tmp_path / "index")
    assert catalogue.encoders.late == encoders.late  # kept with the index
    assert (
        catalogue.reranked_by == "the likeness of patches (late interaction), mixed with the cosine (late.weight=0.75)"
    )
    sketch = np.asarray(draw_pair(4)[1].convert("RGB"))
    cosines = {hit.row: hit.score for hit in catalogue.search(sketch, top=9)}
    hits = catalogue.search(sketch, top=5, rerank=True, shortlist=9)
    small = resize(sketch, 64)[None]
    tokens = encoders.sketch_tokens(small).astype(np.float32)[0, 1:]
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    inked = inked_patches(small, 16)[0]
    expected = {}
    for row, cosine in cosines.items():
        photo = catalogue.tokens([row]).astype(np.float32)[0, 1:]
        alike = np.where(near(4, 2.0), tokens @ (photo / np.linalg.norm(photo, axis=-1, keepdims=True)).T, -1)
        expected[row] = (0.25 * cosine + 0.75 * 3.0 * alike.max(1)[inked].mean()) / (0.25 + 0.75 * 3.0)
    assert [hit.row for hit in hits] == sorted(expected, key=expected.get, reverse=True)[:5]
    np.testing.assert_allclose([hit.score for hit in hits], [expected[hit.row] for hit in hits], atol=1e-5)


def test_encoders_without_patches_are_refused():
    encoders = dataclasses.replace(
        tiny_encoders(), config=dataclasses.replace(tiny_encoders().config, backbone="resnet18")
    )
    with pytest.raises(ValueError, match="re-ranking compares the patches of a ViT, and this index is of resnet18"):
        Reranker(encoders, np.zeros((1, 2, 3), np.float32))
