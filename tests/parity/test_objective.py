"""The whole objective, its gradients and three Adam steps against recorded numbers of the original."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from goldens import assert_close, encoder_params, load, nhwc, under
from recipe import fill, image

from effnet_jax import Preprocessing, alignment_loss, make_functional
from effnet_jax.config import AugmentConfig, Config, LossConfig, ModelConfig, OptimConfig
from effnet_jax.images.preprocessing import source_size
from effnet_jax.losses import TERMS
from effnet_jax.stages.alignment.alignment_objective import make_alignment_objective
from effnet_jax.training.optim import make_optimizer

PAPER_LOSS = LossConfig(same_photo_negatives=True)
VIEWS = ("skt_anchor", "img_anchor", "skt_aug", "img_aug")


def make_batch(inputs, step, size):
    """The rows of a training step; A1 without rotation and mirroring crops the recorded view out of its frame."""
    positions = jnp.arange(len(inputs[f"in/step{step}/skt_anchor"]), dtype=jnp.uint32)
    rows = {"photo_index": positions.astype(jnp.int32), "position": positions}
    source = source_size("a1", size)
    frame = (source - size) // 2
    for domain, short in (("sketch", "skt"), ("photo", "img")):
        anchor, augmented = (nhwc(inputs[f"in/step{step}/{short}_{view}"]) for view in ("anchor", "aug"))
        rows[f"{domain}_{size}"] = anchor
        rows[f"{domain}_{source}"] = jnp.pad(augmented, ((0, 0), (frame, frame), (frame, frame), (0, 0)))
    return rows


@pytest.fixture(scope="module")
def small():
    arrays, meta = load("base_objective")
    inputs, _ = load("base_objective_inputs")
    c = meta["config"]
    config = Config(
        model=ModelConfig(
            width=c["dim"], depth=c["depth"], heads=c["heads"], image_size=c["img"], embedding_size=c["classes"]
        ),
        augment=AugmentConfig(max_angle=0.0, mirror=0.0),
        loss=PAPER_LOSS,
    )
    objective = make_alignment_objective(config, make_functional(config.model), Preprocessing(image_size=c["img"]))
    differentiate = jax.jit(jax.value_and_grad(objective, has_aux=True))

    def loss_of(params, batch):
        (loss, (terms, _)), gradient = differentiate({"model": params}, {}, batch, jax.random.key(0))
        return [*(float(terms[t]) for t in TERMS), float(loss)], gradient["model"]

    params = {
        "sketch_encoder": encoder_params(under(arrays, "w_skt/")),
        "photo_encoder": encoder_params(under(arrays, "w_img/")),
    }
    return arrays, loss_of, params, [make_batch(inputs, step, c["img"]) for step in (1, 2, 3)]


def test_terms_and_gradients_of_the_objective_that_is_trained(small):
    arrays, loss_of, params, batches = small
    losses, gradient = loss_of(params, batches[0])
    assert_close(losses, arrays["f64/losses"], 1e-5, "terms and total")
    wanted = {
        "sketch_encoder": encoder_params(under(arrays, "g_skt/")),
        "photo_encoder": encoder_params(under(arrays, "g_img/")),
    }
    for (path, got), want in zip(jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(wanted), strict=True):
        assert_close(got, want, 5e-5, jax.tree_util.keystr(path))


@pytest.mark.parametrize("rate", ["6e-06", "0.001"])
def test_three_adam_steps(small, rate):
    arrays, loss_of, params, batches = small
    golden, meta = load(f"base_adam_lr{rate}")
    optimizer = make_optimizer(OptimConfig(learning_rate=meta["lr"]), total_steps=3)
    state, steps, rows = optimizer.init(params), [params], []
    for batch in batches:
        losses, gradient = loss_of(steps[-1], batch)
        rows.append(losses)
        updates, state = optimizer.update(gradient, state, steps[-1])
        steps.append(optax.apply_updates(steps[-1], updates))
    rows.append(loss_of(steps[-1], batches[0])[0])
    assert_close(rows, golden["f64/losses_per_step"], 2e-5, "losses before each step, and of batch 1 after the last")
    compared = 0
    for ours, theirs in (("sketch_encoder", "w_skt"), ("photo_encoder", "w_img")):
        start = dict(jax.tree_util.tree_leaves_with_path(params[ours]))
        for step in (1, 3):  # of the first step five tensors are recorded, the others stand here as they started
            recorded = under(arrays, f"{theirs}/") | under(golden, f"after{step}/{theirs}/")
            after = dict(jax.tree_util.tree_leaves_with_path(encoder_params(recorded)))
            now = dict(jax.tree_util.tree_leaves_with_path(steps[step][ours]))
            for path, before in start.items():
                if step == 1 and np.array_equal(after[path], before):
                    continue
                compared += 1
                moved, wanted = ((np.float64(x[path]) - before) / meta["lr"] for x in (now, after))
                assert np.abs(moved - wanted).max() < 0.1, f"step {step}, {jax.tree_util.keystr(path)}"
    assert compared == 4 + len(jax.tree.leaves(params))  # one of the five belongs to the head that nobody uses


def vit_tiny():
    """The recorded case: losses and gradients, our parameters, and four views."""
    golden, meta = load("recipe_objective_vit_tiny")
    image_params, sketch_params = (
        encoder_params({name: fill(name, tuple(shape), meta["gain"], salt) for name, shape in meta["tensors"]})
        for salt in meta["salts"]
    )
    by_name = dict(zip(("skt_anchor", "skt_aug", "img_anchor", "img_aug"), meta["inputs"], strict=True))
    views = [nhwc(image(by_name[view], tuple(meta["input_shape"]))) for view in VIEWS]
    return golden, meta, {"sketch_encoder": sketch_params, "photo_encoder": image_params}, views


def test_the_losses_of_a_vit_tiny_pair():
    golden, _, params, views = vit_tiny()
    encode = jax.jit(make_functional(ModelConfig(backbone="vit_tiny")).encode_sketches)
    of_photos = {"sketch_encoder": params["photo_encoder"], "photo_encoder": params["photo_encoder"]}  # compiled once
    encodings = [encode(p, x) for p, x in zip((params, of_photos) * 2, views, strict=True)]
    loss, terms = alignment_loss(*encodings, config=PAPER_LOSS)
    assert_close([*(terms[t] for t in TERMS), loss], golden["f64/losses"], 1e-5, "terms and total")


@pytest.mark.slow
def test_vit_tiny_pair():
    golden, meta, params, (sketch, photo, augmented_sketch, augmented_photo) = vit_tiny()
    model = make_functional(ModelConfig(backbone="vit_tiny"))

    def objective(params):
        sketches = (model.encode_sketches(params, x) for x in (sketch, augmented_sketch))
        photos = (model.encode_photos(params, x) for x in (photo, augmented_photo))
        a, a_augmented, b, b_augmented = *sketches, *photos
        return alignment_loss(a, b, a_augmented, b_augmented, config=PAPER_LOSS)

    loss_of = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (loss, terms), gradient = loss_of(params)
    assert_close([*(terms[t] for t in TERMS), loss], golden["f64/losses"], 1e-5, "terms and total")
    names = {"img": "photo_encoder", "skt": "sketch_encoder"}
    for side, ours in names.items():
        head = np.linalg.norm(np.float64(gradient[ours]["head"]["kernel"]))
        patches = np.linalg.norm(np.float64(gradient[ours]["backbone"]["patch_embed"]["kernel"]))
        assert abs(head / meta["grad_l2"][f"{side}/mlp_head.0.weight"] - 1) < 5e-5
        assert abs(patches / meta["grad_l2"][f"{side}/encoder.patch_embed.proj.weight"] - 1) < 5e-5
