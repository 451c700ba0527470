"""Tiny encoders, pictures and a trained run, for tests of what is built on them."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw

from effnet_jax.config import Config, ModelConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional

MODEL = ModelConfig(
    backbone="vit_tiny", weights="none", image_size=32, width=24, depth=2, heads=2, embedding_size=16
)  # fmt: skip


def drawn(like, seed: int = 0):
    """Parameters of the shapes of `like`, drawn by NumPy: to compile a model's own draws takes longer than it does."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        x = rng.standard_normal(leaf.shape, np.float32)
        if leaf.ndim > 1:
            return x / np.sqrt(np.prod(leaf.shape[:-1]), dtype=np.float32)
        return np.float32(1) + x / 10 if path[-1].key in ("scale", "gamma") else x / 10

    return jax.tree_util.tree_map_with_path(draw, like)


def tiny_encoders(seed: int = 0, **changes) -> Encoders:
    """Encoders with random parameters."""
    config = dataclasses.replace(MODEL, **changes)
    params = drawn(jax.eval_shape(make_functional(config).init, jax.random.key(0)), seed)
    return Encoders(config, Preprocessing(image_size=config.image_size), params, {"run": "made", "step": 1})


def draw_pair(seed: int) -> tuple[Image.Image, Image.Image]:
    """A coloured polygon, and its outline."""
    rng = np.random.default_rng(seed)
    corners = [tuple(p) for p in rng.integers(6, 58, (5, 2)).tolist()]
    photo, sketch = Image.new("RGB", (64, 60), "white"), Image.new("L", (64, 60), "white")
    ImageDraw.Draw(photo).polygon(corners, fill=tuple(rng.integers(0, 200, 3).tolist()))
    ImageDraw.Draw(sketch).polygon(corners, outline="black")
    return photo, sketch


def write_photos(folder: Path, seeds, extension: str = "png") -> list[Path]:
    """Write one photo a seed, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{seed:03d}.{extension}" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        draw_pair(seed)[0].save(path)
    return paths


def write_pairs(root: Path, train, test) -> Path:
    """Write a folder of sketches and photos in the trainA/trainB/testA/testB layout, two tags on every other photo."""
    for part, ids in (("train", train), ("test", test)):
        for side in "AB":
            (root / f"{part}{side}").mkdir(parents=True)
        for i in ids:
            photo, sketch = draw_pair(i)
            photo.save(root / f"{part}B" / f"item_{i:03d}.png")
            for tag in ("01", "02")[: 1 + i % 2]:
                sketch.save(root / f"{part}A" / f"item_{i:03d}_{tag}.png")
    return root


def tiny_config(data: Path, home: Path, **model) -> Config:
    """A configuration that trains in seconds."""
    return from_mapping(
        {
            "data": {"name": "sketch_photo_folder", "dir": str(data), "tfds_dir": str(home / "tfds"),
                     "cache": "ram", "validation_share": 0.45},
            "model": {**dataclasses.asdict(MODEL), **model},
            "optim": {"learning_rate": 1e-3},
            "train": {"batch_size": 8, "epochs": 2.0, "eval_every_epochs": 1.0, "log_every_steps": 2},
            "eval": {"grid_rows": 2},
            "log": {"tensorboard": False, "progress": False},
        }
    )  # fmt: skip
