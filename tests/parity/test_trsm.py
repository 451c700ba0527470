"""TRSM, its objective, three Adam steps and the published evaluation against recorded numbers of the original."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from goldens import assert_close, encoder_params, load, nhwc, trsm_params, under
from recipe import fill, tokens

from effnet_jax import make_functional
from effnet_jax.config import Config, LossConfig, ModelConfig, OptimConfig, TrsmConfig
from effnet_jax.images.decode import decode_rgb
from effnet_jax.images.preprocessing import Preprocessing, normalise, resize
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.retrieval.ranking import rank_scores
from effnet_jax.stages.trsm.published_protocol import paired_scores
from effnet_jax.stages.trsm.trsm_objective import make_trsm_objective
from effnet_jax.training.optim import make_optimizer

TERMS = ("multi", "intra_sketch", "intra_photo", "inter")
STREAMS = {"photo_intra": "intra1", "sketch_intra": "intra2", "photo_inter": "inter1", "sketch_inter": "inter2"}
rows_of = TRSM.__call__


def functional(width, heads, z=8, **loss):
    config = Config(
        model=ModelConfig(width=width, embedding_size=z),
        trsm=TrsmConfig(heads=heads, dropout=0.0, **{k: loss.pop(k) for k in ("loss_terms",) if k in loss}),
        loss=LossConfig(same_photo_negatives=True, **loss),
    )
    return config, make_functional_trsm(config.model, config.trsm)


@pytest.fixture(scope="module")
def module():
    arrays, meta = load("trsm")
    _, trsm = functional(meta["config"]["dim"], meta["config"]["heads"])
    arrays |= {name: jnp.asarray(arrays[name]) for name in ("in/x1", "in/x2")}
    return arrays, trsm, trsm_params(under(arrays, "w/"), prefix="")


def test_all_tokens_of_every_stream(module):
    arrays, trsm, params = module
    streams = trsm.call(TRSM.streams)(params, arrays["in/x1"], arrays["in/x2"])
    for ours, theirs in STREAMS.items():
        assert_close(getattr(streams, ours), arrays[f"out/{theirs}"], 1e-5, ours)
    assert_close(streams.photo[:, 0], arrays["out/cls1"], 1e-5)
    assert_close(streams.sketch[:, 0], arrays["out/cls2"], 1e-5)


@pytest.mark.parametrize("form", ["rows", "streams"])
def test_cls_rows_and_all_gradients(module, form):
    arrays, trsm, params = module

    def loss(params, x1, x2):
        if form == "rows":
            pair = trsm.call(rows_of)(params, x1, x2)
            first, second = pair.photo_feature, pair.sketch_feature
        else:
            streams = trsm.call(TRSM.streams)(params, x1, x2)
            first, second = streams.photo[:, 0], streams.sketch[:, 0]
        return jnp.sum(first * arrays["in/cot1"]) + jnp.sum(second * arrays["in/cot2"]), (first, second)

    inputs = params, arrays["in/x1"], arrays["in/x2"]
    gradients, (first, second) = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    assert_close(first, arrays["out/cls1"], 1e-5)
    assert_close(second, arrays["out/cls2"], 1e-5)
    assert_close(gradients[1], arrays["gin/x1"], 5e-5, "photo tokens")
    assert_close(gradients[2], arrays["gin/x2"], 5e-5, "sketch tokens")
    wanted = trsm_params(under(arrays, "g/"), prefix="")
    for (path, got), want in zip(jax.tree.leaves_with_path(gradients[0]), jax.tree.leaves(wanted), strict=True):
        assert_close(got, want, 5e-5, jax.tree_util.keystr(path))


def test_the_published_width():
    golden, meta = load("recipe_trsm768")
    _, trsm = functional(768, meta["heads"])
    tensors = {name: fill(name, tuple(shape), meta["gain"], meta["salt"]) for name, shape in meta["tensors"]}
    pair = jax.jit(trsm.call(rows_of))(
        trsm_params(tensors), *(jnp.asarray(tokens(name, tuple(meta["input_shape"]))) for name in meta["inputs"])
    )
    assert_close(pair.photo_feature, golden["out/cls1"], 1e-5)
    assert_close(pair.sketch_feature, golden["out/cls2"], 1e-5)


@pytest.fixture(scope="module")
def stage_two():
    arrays, meta = load("vit_plus")
    images, _ = load("vit_plus_inputs")
    c = meta["config"]
    encoders = make_functional(
        ModelConfig(
            width=c["dim"], depth=c["depth"], heads=c["heads"], image_size=c["img"], embedding_size=c["classes"]
        )
    )
    weights = under(arrays, "w/")
    frozen = {
        "sketch_encoder": encoder_params(under(weights, "skt_model.")),
        "photo_encoder": encoder_params(under(weights, "img_model.")),
    }
    batch = {"photo_index": jnp.arange(c["B"]), "position": jnp.arange(c["B"], dtype=jnp.uint32)}
    for domain, short, encode in (
        ("sketch", "skt", encoders.encode_sketches),
        ("photo", "img", encoders.encode_photos),
    ):
        for view, name in (("anchor", "anchor"), ("augmented", "aug")):
            pixels = nhwc(images[f"in/{short}_{name}"].astype(np.float32) / np.float32(255))
            batch[f"{domain}_{view}"] = encode(frozen, pixels).tokens
    return arrays, meta, batch, trsm_params(weights)


@pytest.mark.parametrize("loss_terms", ["published", "intended"])
def test_outputs_terms_and_both_totals(stage_two, loss_terms):
    arrays, meta, batch, params = stage_two
    c = meta["config"]
    config, trsm = functional(c["dim"], c["theads"], c["classes"], loss_terms=loss_terms)
    for view, name in (("anchor", "anchor"), ("augmented", "aug")):
        pair = trsm.call(rows_of)(params, batch[f"photo_{view}"], batch[f"sketch_{view}"])
        for got, want in zip(pair, ("vit_img", "vit_skt", "mlp_img", "mlp_skt"), strict=True):
            assert_close(got, arrays[f"out/{name}/{want}"], 1e-5, f"{view} {want}")
    total, (terms, _) = make_trsm_objective(config, trsm)({"trsm": params}, {}, batch, jax.random.key(0))
    assert_close([terms[t] for t in TERMS], arrays["f64/losses"][:4], 1e-5)
    name = {"published": "total_as_implemented", "intended": "total_with_both_self_terms"}[loss_terms]
    assert_close(total, arrays[f"out/{name}"], 1e-5)


@pytest.fixture(scope="module")
def differentiate(stage_two):
    """The published objective as it is trained: (params, batch, key) -> ((loss, (terms, statistics)), gradient)."""
    c = stage_two[1]["config"]
    config, trsm = functional(c["dim"], c["theads"], c["classes"], loss_terms="published")
    return jax.jit(jax.value_and_grad(make_trsm_objective(config, trsm), has_aux=True))


def test_all_gradients_of_the_objective_that_is_trained(stage_two, differentiate):
    arrays, _, batch, params = stage_two
    _, gradient = differentiate({"trsm": params}, {}, batch, jax.random.key(0))
    wanted = trsm_params(under(arrays, "g/"))
    assert len(jax.tree.leaves(wanted)) == 28
    assert np.abs(wanted["photo_head"]["kernel"]).max() > 0  # recorded, not filled in
    for (path, got), want in zip(jax.tree.leaves_with_path(gradient["trsm"]), jax.tree.leaves(wanted), strict=True):
        assert_close(got, want, 5e-5, jax.tree_util.keystr(path))


@pytest.mark.parametrize("rate", ["6e-07", "0.001"])
def test_three_adam_steps_on_one_batch(stage_two, differentiate, rate):
    arrays, _, batch, params = stage_two
    optimizer = make_optimizer(OptimConfig(learning_rate=float(rate)), total_steps=3)
    now = {"trsm": params}
    state, rows = optimizer.init(now), []
    for _ in range(3):
        (loss, (terms, _)), gradient = differentiate(now, {}, batch, jax.random.key(0))
        rows.append([*(float(terms[t]) for t in TERMS), float(loss)])
        updates, state = optimizer.update(gradient, state, now)
        now = optax.apply_updates(now, updates)
    assert_close(rows, arrays[f"out/adam_lr{rate}/losses"], 2e-5)
    recorded = under(arrays, f"out/adam_lr{rate}/after3/")
    recorded.pop("trsm.in_attn.feat2_attn.wq.weight")  # never used, and absent from ours
    before = under(arrays, "w/")
    got = dict(jax.tree.leaves_with_path(now["trsm"]))
    got = {jax.tree_util.keystr(path): np.asarray(value) for path, value in got.items()}
    where = {
        "trsm.proj1.weight": "['photo_proj']['kernel']",
        "trsm.inter_attn.wq.weight": "['inter']['query']['kernel']",
        "trsm.in_attn.feat1_attn.wv.weight": "['intra']['value']['kernel']",
        "img_mlp_head.weight": "['photo_head']['kernel']",
        "skt_mlp_head.bias": "['sketch_head']['bias']",
    }
    assert set(where) == set(recorded)
    for name, path in where.items():
        off = np.abs(got[path] - recorded[name].T).max() / float(rate)
        assert off < 0.1, f"{name} is off by {off:.3g} learning rates"
        assert np.abs(recorded[name] - before[name]).max() > float(rate)


def test_the_published_evaluation():
    arrays, meta = load("get_acc_paired_trsm")
    pictures, _ = load("get_acc")
    c = meta["config"]
    encoders = make_functional(
        ModelConfig(
            width=c["dim"], depth=c["depth"], heads=c["heads"], image_size=c["img"], embedding_size=c["classes"]
        )
    )
    weights = under(arrays, "w/")
    frozen = {name: encoder_params(under(weights, "img_model.")) for name in ("sketch_encoder", "photo_encoder")}
    encode = jax.jit(lambda images: encoders.encode_photos(frozen, normalise(images, Preprocessing())).tokens)

    def rows(folder, names):
        images = [resize(decode_rgb(pictures[f"png/square/{folder}/{name}"].tobytes()), c["img"]) for name in names]
        return np.asarray(encode(jnp.asarray(np.stack(images))))

    black = np.asarray(encode(jnp.zeros((1, c["img"], c["img"], 3), jnp.uint8)))
    _, trsm = functional(c["dim"], c["theads"], c["classes"])
    sketches, photos = rows("testA", meta["sketches"]), rows("testB", meta["photos"])
    scores = paired_scores(trsm, trsm_params(weights), sketches, photos, np.arange(len(sketches)), black)
    assert_close(scores, arrays["out/sim"], 2e-5)
    ranking = rank_scores(scores, arrays["out/labels"])
    np.testing.assert_array_equal(ranking.rank, arrays["out/rank"])
    other = paired_scores(trsm, trsm_params(weights), sketches, photos, np.arange(len(sketches))[::-1].copy(), black)
    assert np.abs(other - scores).max() > 1e-3  # the order of the queries changes what they score
