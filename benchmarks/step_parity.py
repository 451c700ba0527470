"""Loss and gradient of one training step on this machine's device, beside the same step in float32 on its CPU.

    python benchmarks/step_parity.py [--backbone vit_tiny] [--weights FILE] [--pairs 4] [--attention xla cudnn]

The step is the paper's, on smooth pictures, so that a pixel taken from its neighbour changes little. Printed is how far
the loss and the gradient lie from the CPU's at the highest precision, |x - y| / |y|, for every attention in float32 (at
the highest precision, and at the default, which is TF32 on GPUs) and in bfloat16. A case that does not run is named
with its reason.
"""

import argparse
import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from train_step import VITS, make_batch
from turns import compiling, wait_for_turn

from effnet_jax.config import Config, ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective
from effnet_jax.weights.load import load_encoders

CASES = (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))


def smooth(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Put slow waves in the place of the noise."""
    rng = np.random.default_rng(1)

    def picture(shape: tuple[int, ...]) -> np.ndarray:
        b, edge = shape[:2]
        wave = rng.uniform(1, 4, (2, b, 1, 1, 3)) * np.pi
        y, x = np.meshgrid(*[np.linspace(0, 1, edge)] * 2, indexing="ij")
        values = np.sin(wave[0] * x[None, :, :, None]) * np.cos(wave[1] * y[None, :, :, None])
        return (127.5 * (1 + values)).astype(np.uint8)

    return {name: picture(x.shape) if x.dtype == np.uint8 else x for name, x in batch.items()}


def loss_and_gradient(model: ModelConfig, params: Any, batch: Any, device: jax.Device) -> tuple[float, Any]:
    """Compute one step's loss and gradient on a device."""
    config = dataclasses.replace(Config(), model=model)
    objective = make_alignment_objective(config, make_functional(model), Preprocessing(image_size=model.image_size))
    with jax.default_device(device), jax.sharding.use_abstract_mesh(make_mesh(1).abstract_mesh):
        given = jax.device_put((params, batch, jax.random.key(1, impl="threefry2x32")), device)
        gradient_of = jax.jit(lambda p, x, key: jax.value_and_grad(objective, has_aux=True)(p, {}, x, key))
        with compiling():
            compiled = gradient_of.lower(*given).compile()
        (loss, _), gradient = compiled(*given)
    return float(loss), jax.device_get(gradient)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny", choices=VITS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--weights", default="", help="file of pretrained weights; without it, random numbers")
    parser.add_argument("--attention", nargs="*", default=["xla", "cudnn"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = ModelConfig(backbone=given.backbone, image_size=given.size, depth=given.depth, precision="highest",
                        attention="merged", weights=given.weights or "none")  # fmt: skip
    cpu, device = jax.local_devices(backend="cpu")[0], jax.devices()[0]
    batch = smooth(make_batch(given.pairs, given.size))
    with jax.default_device(cpu):
        config = dataclasses.replace(Config(), model=model)
        params = jax.device_get(init_variables(make_functional(model), config, jax.random.key(0)).params)
    if given.weights:
        params["model"], _ = load_encoders(model, params["model"], {})
    loss, gradient = loss_and_gradient(model, params, batch, cpu)
    norm = float(optax.tree.norm(gradient))
    rows = []
    for attention in given.attention:
        for dtype, precision in CASES:
            if attention == "cudnn" and dtype == "float32":  # which it does not do
                continue
            case = dataclasses.replace(model, dtype=dtype, precision=precision, attention=attention)
            row: dict[str, Any] = {"attention": attention, "dtype": dtype, "precision": precision}
            try:
                its_loss, its_gradient = loss_and_gradient(case, params, batch, device)
            except Exception as error:  # whatever it is, the other cases are wanted
                row["problem"] = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
            else:
                off = optax.tree.norm(jax.tree.map(lambda a, b: jnp.float32(a) - b, its_gradient, gradient))
                row |= {"loss": abs(its_loss - loss) / loss, "gradient": float(off) / norm}
            rows.append(row)
    wait_for_turn()
    if given.json:
        return print(json.dumps({"device": device.device_kind, "loss": loss, "rows": rows}))
    print(f"{given.backbone} at {given.size}, {given.pairs} pairs, {device.device_kind}; the CPU's loss is {loss:.4f}")
    for row in rows:
        found = row.get("problem") or f"loss off by {row['loss']:.1e}, gradient by {row['gradient']:.1e}"
        print(f"{row['attention']:8}{row['dtype']:10}{row['precision']:9}{found}")


if __name__ == "__main__":
    main()
