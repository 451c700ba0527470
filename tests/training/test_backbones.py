"""Each family of backbones through the real training loop: two steps of four pairs at its smallest image size."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from effnet_jax import run
from effnet_jax.config import ours
from effnet_jax.models.presets import BACKBONES
from effnet_jax.runs.folder import trained_encoders

LARGER = {"vit_large", "swin_small", "swin_base", "convnext_small", "convnext_base"}  # code of smaller ones, and slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight pairs to train, four to test: noise is enough, nothing has to be learned."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for side, name in (("A", "{}{}_1.png"), ("B", "{}{}.png")):
            (root / f"{part}{side}").mkdir()
            for i in range(count):
                pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(root / f"{part}{side}" / name.format(part, i))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(BACKBONES) - LARGER))
def test_two_steps_of_four_pairs(name, folder, tmp_path, caplog):
    config = ours()
    config.model.update({"backbone": name, "image_size": BACKBONES[name].least or 16, "weights": "none"})
    config.model.embedding_size = 16
    config.data.update({"name": "sketch_photo_folder", "dir": str(folder), "validation_share": 0.0})
    config.data.update({"tfds_dir": str(tmp_path / "tfds"), "cache_dir": str(tmp_path / "cache"), "workers": 1})
    config.optim.update({"warmup_steps": 0, "learning_rate": 1e-4})
    config.train.update({"batch_size": 4, "epochs": 1.0, "log_every_steps": 1})
    config.eval.update({"batch_size": 4, "grid_rows": 0, "ks": (1,)})
    config.log.update({"tensorboard": False, "progress": False})
    with jax.log_compiles():
        (evaluation,) = run.train(config, tmp_path / "run")
    assert sum("Finished XLA compilation of jit(train_step)" in line for line in caplog.messages) == 1
    assert evaluation.step == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    encoders = trained_encoders(tmp_path / "run", "last")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((encoders.params, encoders.batch_stats)))
    statistics = jax.tree.leaves(encoders.batch_stats)
    assert bool(statistics) == name.startswith(("resnet", "inception"))
    assert all(np.any(x != x.flat[0]) for x in statistics)  # every one was moved by the batches
