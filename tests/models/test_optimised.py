"""The other tests compile with hardly any optimisation (conftest.py); users do not, and get the same numbers."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax import alignment_loss, make_functional
from effnet_jax.config import LossConfig, ModelConfig

MODEL = ModelConfig(width=24, depth=2, heads=3, image_size=32, patch_size=8, embedding_size=8)
LOSS = LossConfig(intra_sketch=0.0, intra_photo=0.0)


def numbers() -> dict[str, np.ndarray]:
    """Embeddings, loss and gradient of two small ViTs, by name."""
    model, rng = make_functional(MODEL), np.random.default_rng(0)
    sketches, photos = (jnp.asarray(rng.random((4, 32, 32, 3)), jnp.float32) for _ in range(2))
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    params = tree.unflatten(rng.normal(0, 0.2, x.shape).astype(np.float32) for x in leaves)

    def objective(params):
        encodings = model.encode(params, sketches, photos)
        return alignment_loss(*encodings, config=LOSS, photo_index=jnp.arange(4))[0], encodings

    (loss, encodings), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    named = {"loss": loss, "encodings": encodings, "gradient": gradient}
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(named)}


def test_xlas_default_optimisation_changes_no_value_loss_or_gradient(tmp_path):
    assert "optimization_level" in os.environ["XLA_FLAGS"]
    plain = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS" and not k.startswith("JAX_")}
    program = [sys.executable, __file__, str(tmp_path / "numbers.npz")]
    subprocess.run(program, env=plain | {"JAX_PLATFORMS": "cpu"}, check=True, timeout=120)
    with np.load(tmp_path / "numbers.npz") as optimised:
        here = numbers()
        assert set(optimised.files) == set(here)
        for name, got in here.items():
            np.testing.assert_allclose(
                got, optimised[name], rtol=0, atol=1e-5 * max(1, np.abs(got).max()), err_msg=name
            )


if __name__ == "__main__":
    np.savez(sys.argv[1], **numbers())
