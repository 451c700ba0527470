"""Forward and backward speed of every backbone, beside PyTorch's where torch, timm and torchvision are installed.

    python benchmarks/backbones.py [--names vit_tiny resnet50] [--batch 4] [--size 224] [--rounds 3]

Each line: images a second of the forward pass and of forward and backward together, in float32, on all cores. The two
libraries take turns, so that whatever else the machine does falls on both alike; the medians over the rounds are given,
and their ratio (above 1: ours is faster). Weights are random: speed does not depend on them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.presets import BACKBONES

THEIRS = {
    "vit": "{}_patch16_224", "swin": "{}_patch4_window7_224", "convnext": "{}", "vgg16": "{}", "resnet18": "{}",
    "resnet50": "{}", "inception": "{}",
}  # fmt: skip


def ours(name: str, images: np.ndarray) -> dict[str, Callable[[], object]]:
    config = ModelConfig(backbone=name, image_size=images.shape[1], shared_encoders=True, weights="none")
    model = make_functional(config)
    params, stats = jax.jit(model.init)(jax.random.key(0)), model.init_batch_stats()
    pixels, keys = jnp.asarray(images), jax.random.split(jax.random.key(1), len(images))

    def loss(params):
        encodings, after = model.encode_views(params, stats, [pixels[: len(pixels) // 2]], [pixels[len(pixels) // 2 :]],
                                              [keys[: len(keys) // 2]], [keys[len(keys) // 2 :]])  # fmt: skip
        return sum(jnp.sum(e[0].embedding ** 2) for e in encodings), after

    forward = jax.jit(lambda p: model.encode_photos(p, pixels, stats).embedding)
    both = jax.jit(jax.grad(loss, has_aux=True))
    return {
        "forward": lambda: forward(params).block_until_ready(),
        "both": lambda: jax.block_until_ready(both(params)),
    }


def theirs(name: str, images: np.ndarray) -> dict[str, Callable[[], object]]:
    import timm
    import torch

    library = THEIRS[name.split("_")[0]].format(name)
    sized = {"img_size": images.shape[1]} if name.startswith(("vit", "swin")) else {}
    network = timm.create_model(library, pretrained=False, num_classes=512, **sized)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def forward():
        network.eval()
        with torch.inference_mode():
            network(pixels)

    def both():
        network.train()
        network.zero_grad(set_to_none=True)
        (network(pixels) ** 2).sum().backward()

    return {"forward": forward, "both": both}


def with_torch() -> str:
    try:
        import torch

        library = torch.library.Library("torchvision", "DEF")  # lets torchvision import beside a CPU build of torch
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_library"] = library  # it is undone when it is collected
        import timm
    except ImportError:
        return ""
    return f", torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads"


def measure(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(rounds + 1):  # the first round compiles and is not counted
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch = with_torch()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"jax {jax.__version__}{torch}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, load {load:.1f}")
    print(f"batch {arguments.batch} of {arguments.size} px, float32, {arguments.rounds} rounds; images a second")
    print(
        f"{'':16}{'forward':>9}{'both':>9}" + (f"{'torch fwd':>11}{'both':>9}{'ratio':>8}{'both':>8}" if torch else "")
    )
    images = np.random.default_rng(0).random((arguments.batch, arguments.size, arguments.size, 3), np.float32)
    for name in arguments.names:
        cases = {f"ours {key}": call for key, call in ours(name, images).items()}
        if torch:
            cases |= {f"torch {key}": call for key, call in theirs(name, images).items()}
        rate = {key: arguments.batch / seconds for key, seconds in measure(cases, arguments.rounds).items()}
        line = f"{name:16}{rate['ours forward']:9.2f}{rate['ours both']:9.2f}"
        if torch:
            ratios = [rate[f"ours {key}"] / rate[f"torch {key}"] for key in ("forward", "both")]
            line += f"{rate['torch forward']:11.2f}{rate['torch both']:9.2f}{ratios[0]:8.2f}{ratios[1]:8.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
