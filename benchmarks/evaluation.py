"""Evaluation of a split, encoders and ranking, beside the same in plain PyTorch; side by side in one run.

    python benchmarks/evaluation.py [--backbone vit_tiny] [--sketches 275] [--photos 120] [--size 224] [--rounds 3]

Embeds all sketches and photos from uint8 images in batches, and ranks the gallery for each sketch; the defaults are
Clothes-V1's test set. The sides take turns. Printed are medians, their ratio and the floor: the FLOPs of the encoders
at the speed of this machine's best matrix product at the MLP's shapes.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
from collections.abc import Callable, Sequence

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs room on the same GPU

import jax
import jax.numpy as jnp
import numpy as np
from train_step import OURS, VITS, mlp_shapes, product_speed, sizes, take_turns
from turns import wait_for_turn

from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing, normalise
from effnet_jax.models.effnet import make_functional
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.training.flops import BACKWARD, image_flops

Images = Sequence[np.ndarray]  # sketches, photos


def our_side(config: ModelConfig, images: Images, truth: np.ndarray, batch: int) -> Callable[[], None]:
    """Compile the encoders and return a call that embeds and ranks."""
    model, preprocessing = make_functional(config), Preprocessing(image_size=config.image_size)
    params = jax.jit(model.init)(jax.random.key(0))
    encoders = [jax.jit(lambda p, x, encode=encode: encode(p, normalise(x, preprocessing)).embedding)
                for encode in (model.encode_sketches, model.encode_photos)]  # fmt: skip

    def embed(encode: Callable[..., jax.Array], rows: np.ndarray) -> jax.Array:
        padded = np.concatenate([rows, np.zeros((-len(rows) % batch, *rows.shape[1:]), np.uint8)])
        return jnp.concatenate([encode(params, part) for part in np.split(padded, len(padded) // batch)])[: len(rows)]

    def call() -> None:
        sketches, photos = (embed(e, rows) for e, rows in zip(encoders, images, strict=True))
        rank_gallery(sketches, photos, truth)

    return call


def torch_side(config: ModelConfig, images: Images, truth: np.ndarray, batch: int, variant: str) -> Callable[[], None]:
    """Build the same in PyTorch."""
    torch, theirs = importlib.import_module("torch"), importlib.import_module("torch_effnet")
    torch.set_num_threads(os.cpu_count() or 1)
    autocast, compiled = theirs.VARIANTS[variant]
    shape = (*sizes(config), config.image_size, config.patch_size, config.embedding_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    evaluate = theirs.Evaluate(*shape, device=device, autocast=autocast, compiled=compiled)
    tensors, rows = [torch.from_numpy(x) for x in images], torch.from_numpy(truth.astype(np.int64))
    return lambda: evaluate(*tensors, rows, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny", choices=VITS)
    parser.add_argument("--sketches", type=int, default=275)
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--torch", nargs="*", default=["eager"], help="PyTorch variants, or none")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    config = ModelConfig(backbone=given.backbone, image_size=given.size, depth=given.depth, dtype=given.dtype)
    rng = np.random.default_rng(0)
    counts = (given.sketches, given.photos)
    sketches, photos = (rng.integers(0, 256, (n, given.size, given.size, 3), dtype=np.uint8) for n in counts)
    images = (sketches, photos)
    truth = (np.arange(given.sketches) % given.photos).astype(np.int32)
    cases = {OURS: our_side(config, images, truth, given.batch)}
    if importlib.util.find_spec("torch"):
        cases |= {f"PyTorch {v}": torch_side(config, images, truth, given.batch, v) for v in given.torch if v != "none"}
    wait_for_turn()
    clock, processor = take_turns(cases, given.rounds)
    flops = (given.sketches + given.photos) * image_flops(config) / (1 + BACKWARD)
    product = product_speed(mlp_shapes(config, max(1, given.batch // 2)), given.dtype)
    if given.json:
        rates = {name: sum(counts) / statistics.median(values) for name, values in clock.items()}
        return print(json.dumps([[f"embed and rank, {name}", f"{rate:,.0f} images/s"] for name, rate in rates.items()]))
    print(f"{given.backbone} at {given.size}, {given.sketches} sketches, {given.photos} photos, {given.dtype}")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, {given.rounds} rounds")
    print(f"best matrix product {1e-9 * product:.0f} GFLOP/s, so the floor is {flops / product:.3f} s")
    for name, values in clock.items():
        median = statistics.median(values)
        share, work = flops / median / product, statistics.median(processor[name])
        print(f"{name:28}{median:9.3f} s, {work:.3f} CPU seconds, share of the product {share:.2f}")
        if name != OURS:
            print(f"ratio, {name} over ours: {median / statistics.median(clock[OURS]):.2f}")


if __name__ == "__main__":
    main()
