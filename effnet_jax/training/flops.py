"""Floating-point operations of an image and of a program, and the peak of the devices to hold them against."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.presets import preset_of

BACKWARD = 2  # forward passes: the products for the gradients of inputs and of weights
MLP_RATIO = 4

# Dense bfloat16 products, FLOP/s per chip, by the start of jax's device_kind; the longest start that fits is taken.
# Source: NVIDIA's data sheets of A100, H100 (SXM, PCIe, NVL), H200 and GH200, with figures "with sparsity" halved;
# cloud.google.com/tpu/docs for v4, v5e, v5p and v6e.
PEAKS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA GH200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Give the peak of one device, FLOP/s of dense bfloat16 products; None where it is not known."""
    if device_kind == "TPU v4 lite" or " MIG " in device_kind:  # a part of a GPU has a part of its peak
        return None
    fits = [kind for kind in PEAKS if device_kind.startswith(kind)]
    return PEAKS[max(fits, key=len)] if fits else None


def total_peak(devices: Sequence[jax.Device]) -> float | None:
    """Add up the peaks of devices; None where one is not known."""
    peaks = [peak_flops(device.device_kind) for device in devices]
    known = [peak for peak in peaks if peak is not None]
    return sum(known) if len(known) == len(peaks) else None


def image_flops(model: ModelConfig) -> float:
    """Count the operations of one image, forward and backward: by formula for a ViT, else as XLA counts them.

    The formula counts matrix products only, and the backward pass as twice the forward pass.
    """
    preset = preset_of(model)
    if preset.family != "vit" or model.token_recycling or model.stem != "linear":
        return counted_image_flops(model)
    d, depth = preset.width, preset.depths[0]
    patches = (model.image_size // model.patch_size) ** 2
    n = patches + 1
    layers = 4 * d * d + 2 * MLP_RATIO * d * d  # qkv and proj, then the MLP: multiply-adds per token
    attention = 2 * n * d  # logits and weighted sum: multiply-adds per token
    forward = 2.0 * (patches * 3 * model.patch_size**2 * d + depth * n * (layers + attention))
    return (1 + BACKWARD) * forward


def counted_image_flops(model: ModelConfig) -> float:
    """Let XLA count the operations of one image, forward and backward, in the program before any optimisation.

    Returns:
        0.0 where the backend cannot count.
    """
    functional = make_functional(dataclasses.replace(model, remat=False, shared_encoders=True))
    params, stats = jax.eval_shape(functional.init, jax.random.key(0)), jax.eval_shape(functional.init_batch_stats)
    image = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))

    def encode(params: dict[str, Any], stats: dict[str, Any], image: Array, keys: Array) -> Array:
        sides, _ = functional.encode_views(params, stats, [image], [image], [keys], [keys])
        return sum((jnp.sum(view.embedding) + jnp.sum(view.feature) for (view,) in sides), start=jnp.zeros(()))

    return lowered_flops(jax.jit(jax.grad(encode)).lower(params, stats, image, keys)) / 2  # a sketch and a photo


def lowered_flops(lowered: jax.stages.Lowered) -> float:
    """Read XLA's count of a program that is not compiled; 0.0 where there is none."""
    cost = lowered.cost_analysis()
    return float((cost or {}).get("flops", 0.0))
