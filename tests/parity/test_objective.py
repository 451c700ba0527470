"""The whole objective, its gradients and three Adam steps against recorded numbers of the original."""

import jax
import numpy as np
import optax
import pytest
from goldens import assert_close, encoder_params, load, nhwc, under
from recipe import fill, image

from effnet_jax import alignment_loss, make_functional
from effnet_jax.config import LossConfig, ModelConfig, OptimConfig
from effnet_jax.losses import TERMS
from effnet_jax.training.optim import make_optimizer

PAPER_LOSS = LossConfig(same_photo_negatives=True)
VIEWS = ("skt_anchor", "img_anchor", "skt_aug", "img_aug")


def objective(model, params, views):
    sketch, photo, augmented_sketch, augmented_photo = views
    return alignment_loss(
        model.encode_sketches(params, sketch),
        model.encode_photos(params, photo),
        model.encode_sketches(params, augmented_sketch),
        model.encode_photos(params, augmented_photo),
        config=PAPER_LOSS,
    )


@pytest.fixture(scope="module")
def small():
    arrays, meta = load("base_objective")
    inputs, _ = load("base_objective_inputs")
    c = meta["config"]
    model = make_functional(
        ModelConfig(
            width=c["dim"], depth=c["depth"], heads=c["heads"], image_size=c["img"], embedding_size=c["classes"]
        )
    )
    params = {
        "sketch_encoder": encoder_params(under(arrays, "w_skt/")),
        "photo_encoder": encoder_params(under(arrays, "w_img/")),
    }
    batches = [
        [nhwc(inputs[f"in/step{step}/{view}"].astype(np.float32) / np.float32(255)) for view in VIEWS]
        for step in (1, 2, 3)
    ]
    return arrays, model, params, batches


def test_terms_and_gradients(small):
    arrays, model, params, batches = small
    (loss, terms), gradient = jax.value_and_grad(lambda p: objective(model, p, batches[0]), has_aux=True)(params)
    assert_close([*(terms[t] for t in TERMS), loss], arrays["f64/losses"], 1e-5, "terms and total")
    wanted = {
        "sketch_encoder": encoder_params(under(arrays, "g_skt/")),
        "photo_encoder": encoder_params(under(arrays, "g_img/")),
    }
    for (path, got), want in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(wanted), strict=True):
        assert_close(got, want, 5e-5, jax.tree_util.keystr(path))


@pytest.mark.parametrize("rate", ["6e-06", "0.001"])
def test_three_adam_steps(small, rate):
    _, model, params, batches = small
    golden, meta = load(f"base_adam_lr{rate}")
    optimizer = make_optimizer(OptimConfig(learning_rate=meta["lr"]), total_steps=3)
    loss_of = jax.jit(jax.value_and_grad(lambda p, views: objective(model, p, views), has_aux=True))
    state, now, rows = optimizer.init(params), params, []
    for views in batches:
        (loss, terms), gradient = loss_of(now, views)
        rows.append([*(float(terms[t]) for t in TERMS), float(loss)])
        updates, state = optimizer.update(gradient, state, now)
        now = optax.apply_updates(now, updates)
    (loss, terms), _ = loss_of(now, batches[0])
    rows.append([*(float(terms[t]) for t in TERMS), float(loss)])
    assert_close(rows, golden["f64/losses_per_step"], 2e-5, "losses before each step, and of batch 1 after the last")
    for ours, theirs in (("sketch_encoder", "w_skt"), ("photo_encoder", "w_img")):
        after = encoder_params(under(golden, f"after3/{theirs}/"))
        leaves = jax.tree_util.tree_leaves_with_path(now[ours])
        for (path, got), before, want in zip(
            leaves, jax.tree.leaves(params[ours]), jax.tree.leaves(after), strict=True
        ):
            moved = (np.float64(got) - before) / meta["lr"]
            wanted = (np.float64(want) - before) / meta["lr"]
            assert np.abs(moved - wanted).max() < 0.1, jax.tree_util.keystr(path)


@pytest.mark.slow
def test_vit_tiny_pair():
    golden, meta = load("recipe_objective_vit_tiny")
    image_params, sketch_params = (
        encoder_params({name: fill(name, tuple(shape), meta["gain"], salt) for name, shape in meta["tensors"]})
        for salt in meta["salts"]
    )
    by_name = dict(zip(("skt_anchor", "skt_aug", "img_anchor", "img_aug"), meta["inputs"], strict=True))
    views = [nhwc(image(by_name[view], tuple(meta["input_shape"]))) for view in VIEWS]
    model = make_functional(ModelConfig(backbone="vit_tiny"))
    params = {"sketch_encoder": sketch_params, "photo_encoder": image_params}
    loss_of = jax.jit(jax.value_and_grad(lambda p: objective(model, p, views), has_aux=True))
    (loss, terms), gradient = loss_of(params)
    assert_close([*(terms[t] for t in TERMS), loss], golden["f64/losses"], 1e-5, "terms and total")
    names = {"img": "photo_encoder", "skt": "sketch_encoder"}
    for side, ours in names.items():
        head = np.linalg.norm(np.float64(gradient[ours]["head"]["kernel"]))
        patches = np.linalg.norm(np.float64(gradient[ours]["backbone"]["patch_embed"]["kernel"]))
        assert abs(head / meta["grad_l2"][f"{side}/mlp_head.0.weight"] - 1) < 5e-5
        assert abs(patches / meta["grad_l2"][f"{side}/encoder.patch_embed.proj.weight"] - 1) < 5e-5
