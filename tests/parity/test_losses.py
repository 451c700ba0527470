"""InfoNCE against recorded numbers of the original, the edge cases included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens import assert_close, load

from effnet_jax import info_nce

ARRAYS, META = load("cross_loss")
CASES = [pytest.param(case["case"], id=f"{case['case']:02d}-{case['what']}") for case in META["cases"]]


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    golden = {key: ARRAYS[f"case{case:02d}/{key}"] for key in ("f1", "f2", "temperature", "loss", "g1", "g2")}
    temperature = float(golden["temperature"])
    loss_of = jax.value_and_grad(lambda f1, f2: info_nce(f1, f2, temperature), argnums=(0, 1))
    loss, (g1, g2) = loss_of(jnp.asarray(golden["f1"]), jnp.asarray(golden["f2"]))
    assert abs(float(loss) - golden["loss"]) <= 1e-5 * max(1.0, abs(golden["loss"]))
    for got, want in ((g1, golden["g1"]), (g2, golden["g2"])):
        assert np.isfinite(got).all()
        assert_close(got, want, 5e-5, "gradient")


def test_one_pair_has_no_signal():
    loss, gradient = jax.value_and_grad(info_nce)(jnp.asarray(ARRAYS["B1/f1"]), jnp.asarray(ARRAYS["B1/f2"]))
    assert float(loss) == 0
    assert not np.any(gradient)
