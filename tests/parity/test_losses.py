"""InfoNCE against recorded numbers of the original, the edge cases included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens import assert_close, load

from effnet_jax import info_nce

ARRAYS, META = load("cross_loss")
OVERFLOW = 23  # row 0 of f1 is so large that the original's float32 norm is infinite, and the row becomes 0
CASES = [
    pytest.param(case["case"], id=f"{case['case']:02d}-{case['what']}")
    for case in META["cases"]
    if case["case"] != OVERFLOW
]


def recorded(case):
    return {key: ARRAYS[f"case{case:02d}/{key}"] for key in ("f1", "f2", "temperature", "loss", "g1", "g2")}


def value_and_gradients(f1, f2, temperature):
    loss_of = jax.value_and_grad(lambda f1, f2: info_nce(f1, f2, float(temperature)), argnums=(0, 1))
    return loss_of(jnp.asarray(f1), jnp.asarray(f2))


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    golden = recorded(case)
    loss, (g1, g2) = value_and_gradients(golden["f1"], golden["f2"], golden["temperature"])
    assert abs(float(loss) - golden["loss"]) <= 1e-5 * max(1.0, abs(golden["loss"]))
    for got, want in ((g1, golden["g1"]), (g2, golden["g2"])):
        assert np.isfinite(got).all()
        assert_close(got, want, 5e-5, "gradient")


def test_where_the_originals_norm_overflows_ours_gives_the_value_of_float64():
    golden, meta = recorded(OVERFLOW), META["cases"][OVERFLOW]
    loss, (g1, _) = value_and_gradients(golden["f1"], golden["f2"], golden["temperature"])
    assert np.isclose(loss, meta["loss64"], rtol=1e-5)
    assert np.any(g1[0])
    # The original makes a zero row of it. Its gradient there is the overflow's, ours the floor's.
    zeroed = golden["f1"] * (np.arange(len(golden["f1"])) > 0)[:, None]
    loss, (g1, g2) = value_and_gradients(zeroed, golden["f2"], golden["temperature"])
    assert abs(float(loss) - golden["loss"]) <= 1e-5 * max(1.0, abs(golden["loss"]))
    assert_close(g1[1:], golden["g1"][1:], 5e-5, "gradient")
    assert_close(g2, golden["g2"], 5e-5, "gradient")


def test_one_pair_has_no_signal():
    loss, gradient = jax.value_and_grad(info_nce)(jnp.asarray(ARRAYS["B1/f1"]), jnp.asarray(ARRAYS["B1/f2"]))
    assert float(loss) == 0
    assert not np.any(gradient)
