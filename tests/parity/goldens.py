"""Read the recorded numbers, and rebuild the weights that are regenerated from their names."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.models.trees import nest
from effnet_jax.weights.names.published_names import effnet_mstr, effnet_trsm
from effnet_jax.weights.names.targets import to_ours
from effnet_jax.weights.names.vit_names import timm_vit

FOLDER = Path(__file__).parent / "goldens"


def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Give the arrays and the meta data of one golden file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("meta")))


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Give the arrays below a prefix, without it."""
    return {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}


def encoder_params(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Lay an original encoder (encoder.*, mlp_head.0.*), or gradients of it, into our nested dict."""
    depth = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.blocks."))
    flat = {
        ("backbone", *target.path): to_ours(tensors[f"encoder.{name}"], target.layout)
        for name, target in timm_vit(depth).items()
    }
    flat["head", "kernel"] = to_ours(tensors["mlp_head.0.weight"], "linear")
    flat["head", "bias"] = to_ours(tensors["mlp_head.0.bias"], "same")
    return nest(flat)


def trsm_params(tensors: dict[str, np.ndarray], prefix: str = "trsm.", z: int = 8) -> dict[str, Any]:
    """Lay an original TRSM, or gradients of it, into our nested dict; heads that it lacks are zero, of width z."""
    flat = {}
    for name, target in effnet_trsm(prefix).items():
        if name in tensors:
            flat[target.path] = to_ours(tensors[name], target.layout)
    width = len(flat["photo_proj", "bias"])
    for head in ("photo_head", "sketch_head"):
        flat.setdefault((head, "kernel"), np.zeros((width, z), np.float32))
        flat.setdefault((head, "bias"), np.zeros(z, np.float32))
    return jax.tree.map(jnp.asarray, nest(flat))


def mstr_params(tensors: dict[str, np.ndarray], prefix: str = "recycle_model.") -> dict[str, Any]:
    """Lay an original MSTR, or gradients of it, into our nested dict."""
    table = effnet_mstr(prefix)
    return jax.tree.map(jnp.asarray, nest({t.path: to_ours(tensors[name], t.layout) for name, t in table.items()}))


def nhwc(images: np.ndarray) -> jax.Array:
    """Channels last."""
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def assert_close(got: Any, want: Any, tolerance: float, what: str = "") -> None:
    """Compare with |difference| <= tolerance * max(1, max |wanted|)."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    worst = np.abs(got - want).max()
    scale = max(1.0, np.abs(want).max())
    assert worst <= tolerance * scale, f"{what}: off by {worst:.3g} where values reach {scale:.3g}"
