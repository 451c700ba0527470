import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.models import attention
from effnet_jax.models.attention import ATTENTION, attend_by_jax, choose_attention

SHAPE = {"tokens": 7, "heads": 2, "head_width": 4}


def test_implementations_are_equal_in_value_and_gradient():
    qkv = jnp.asarray(np.random.default_rng(0).standard_normal((3, 7, 24)), jnp.float32)
    results = []
    for name in ("merged", "xla"):
        both = jax.jit(jax.value_and_grad(lambda x, name=name: jnp.sum(ATTENTION[name](x, 2) ** 3)))
        results.append((ATTENTION[name](qkv, 2), *both(qkv)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [6, 7])
def test_a_token_that_makes_their_number_even_changes_neither_value_nor_gradient(tokens):
    qkv = jnp.asarray(np.random.default_rng(0).standard_normal((3, tokens, 24)), jnp.float32)
    plain, filled = (
        jax.jit(
            jax.value_and_grad(lambda x, even=even: jnp.sum(attend_by_jax(x, 2, implementation="xla", even=even) ** 3))
        )
        for even in (False, True)
    )
    for a, b in zip(jax.tree.leaves(plain(qkv)), jax.tree.leaves(filled(qkv)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_cudnn_is_given_even_numbers_of_tokens(monkeypatch):
    seen = []

    def attend(query, key, value, **options):
        seen.append((query.shape[1], options["key_value_seq_lengths"]))
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", attend)
    for tokens in (6, 7):
        assert ATTENTION["cudnn"](jnp.ones((2, tokens, 24)), 2).shape == (2, tokens, 8)
    assert [n for n, _ in seen] == [6, 8]
    assert seen[0][1] is None
    assert seen[1][1].tolist() == [7, 7]


def test_bfloat16_stays_close_to_float32():
    qkv = jnp.asarray(np.random.default_rng(0).standard_normal((3, 7, 24)), jnp.float32)
    for name in ("merged", "xla"):
        half = ATTENTION[name](qkv.astype(jnp.bfloat16), 2)
        assert half.dtype == jnp.bfloat16
        assert np.abs(half.astype(jnp.float32) - ATTENTION[name](qkv, 2)).max() < 0.05


def test_auto_on_this_machine_and_explicit_names():
    assert choose_attention("xla", jnp.float32, **SHAPE) == ("xla", "as configured")
    if jax.default_backend() == "cpu":
        assert choose_attention("auto", jnp.bfloat16, **SHAPE) == ("merged", "auto, on cpu")


def test_on_gpus_cudnn_is_tried_and_its_failure_is_told(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_attention("auto", jnp.float32, **SHAPE)[0] == "xla"
    monkeypatch.setattr(attention, "cudnn_problem", lambda *shape: "")
    assert choose_attention("auto", jnp.bfloat16, **SHAPE) == ("cudnn", "auto")
    monkeypatch.setattr(attention, "cudnn_problem", lambda *shape: "XlaRuntimeError: no engine")
    assert choose_attention("auto", jnp.bfloat16, **SHAPE) == ("xla", "auto; cudnn cannot: XlaRuntimeError: no engine")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs a machine without cuDNN")
def test_cudnn_by_name_is_refused_where_it_cannot():
    with pytest.raises(ValueError, match=r"model\.attention=cudnn cannot be used here \(.+auto takes what can"):
        choose_attention("cudnn", jnp.bfloat16, **SHAPE)


def test_without_cudnn_the_trial_says_why():
    assert attention.cudnn_problem(7, 2, 4)
