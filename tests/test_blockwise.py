import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run_program
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax import Encoding, alignment_loss, info_nce
from effnet_jax.blockwise import row_losses
from effnet_jax.config import LossConfig
from effnet_jax.losses import unit_norm


@partial(jax.jit, static_argnames="block_pairs")
def value_and_gradients(rows, temperature, groups, block_pairs):
    def loss(rows, temperature):
        return info_nce(rows[0], rows[1], temperature, groups, block_pairs=block_pairs)

    return jax.value_and_grad(loss, argnums=(0, 1))(rows, temperature)


def close(got, want, tolerance):
    assert got.dtype == want.dtype
    scale = max(1.0, float(jnp.max(jnp.abs(want))))
    assert np.max(np.abs(np.asarray(got) - np.asarray(want))) <= tolerance * scale


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([2, 5, 9]), st.sampled_from([1, 4, 8]), st.floats(0.02, 2.0), st.data()
)  # few shapes: each is compiled
def test_equals_the_whole_matrix(dtype, tolerance, seed, b, block_pairs, temperature, data):
    groups = data.draw(st.just(list(range(b))) | st.lists(st.integers(0, 3), min_size=b, max_size=b))
    with jax.enable_x64(dtype == "float64"):
        rows = jnp.asarray(np.random.default_rng(seed).standard_normal((2, b, 6)), dtype)
        arguments = rows, jnp.asarray(temperature, dtype), jnp.asarray(groups, jnp.int32)
        whole, blocks = (value_and_gradients(*arguments, block_pairs=block) for block in (0, block_pairs))
        assert blocks[0].dtype == dtype
        # rounding of the logits, up to 1 / T, and of short rows' directions is not the blocks' doing
        tolerance *= max(1.0, 1 / temperature) * max(1.0, 1 / float(jnp.min(jnp.linalg.norm(rows, axis=-1))))
        for got, want in zip(jax.tree.leaves(blocks), jax.tree.leaves(whole), strict=True):
            close(got, want, tolerance)


def test_without_groups_and_with_masked_blocks_before_the_first_negative():
    rows = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6)), jnp.float32)
    for groups in (None, jnp.array([0, 0, 0, 0, 1], jnp.int32), jnp.zeros(5, jnp.int32)):
        whole, blocks = (value_and_gradients(rows, jnp.float32(0.07), groups, block) for block in (0, 1))
        for got, want in zip(jax.tree.leaves(blocks), jax.tree.leaves(whole), strict=True):
            close(got, want, 2e-5)


@pytest.mark.parametrize("block_pairs", [1, 4, 8])
def test_no_loss_is_below_zero_where_partners_are_alike(block_pairs):
    """At a low temperature nothing but the partner counts: normaliser and partner must come from one product."""
    temperature, groups = jnp.float32(0.003), jnp.arange(9)
    losses = jax.jit(partial(row_losses, block_pairs=block_pairs))
    smallest = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        rows = random.standard_normal((9, 256)) + 1e-3 * random.standard_normal((2, 9, 256))
        smallest.append(jnp.min(losses(unit_norm(jnp.asarray(rows, jnp.float32)), temperature, groups)))
    assert min(smallest) >= 0


@pytest.mark.usefixtures("unchecked")
def test_empty_and_unequal_batches_are_refused_with_their_shapes():
    z, temperature = jnp.ones((2, 3, 4)), jnp.float32(1)
    for rows, groups, block_pairs in ((z[:, :0], 0, 1), (z, 2, 1), (z, 3, 0)):
        with pytest.raises(ValueError, match=rf"z {re.escape(str(rows.shape))}, .* block_pairs={block_pairs}\."):
            row_losses(rows, temperature, jnp.arange(groups), block_pairs)


def test_zero_rows_have_finite_gradients():
    blocks = value_and_gradients(jnp.zeros((2, 5, 6)), jnp.float32(0.07), None, 1)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(blocks))


def test_the_objective_uses_blocks_above_the_configured_size():
    rng = np.random.default_rng(0)
    views = [Encoding(*(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((5, 3, 6), (5, 6), (5, 4))))
             for _ in range(4)]  # fmt: skip
    text = {}
    for block_pairs in (2, 5):
        config = LossConfig(block_pairs=block_pairs)
        loss = partial(alignment_loss, config=config, photo_index=jnp.arange(5))
        text[block_pairs] = str(jax.make_jaxpr(loss)(*views))
    assert text[2].count("scan[") == 4
    assert "scan[" not in text[5]


PROGRAM = """
import math, re
import jax, jax.numpy as jnp
from effnet_jax.config import LossConfig
from effnet_jax.losses import info_nce
from effnet_jax.runtime.sharding import batch_sharded, make_mesh, replicated

b, d = 4096, 64

def compiled(block_pairs, mesh):
    def loss(first, second, groups):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return info_nce(first, second, 0.07, groups, block_pairs=block_pairs)
    rows = jax.ShapeDtypeStruct((b, d), jnp.float32, sharding=batch_sharded(mesh))
    groups = jax.ShapeDtypeStruct((b,), jnp.int32, sharding=batch_sharded(mesh))
    made = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), out_shardings=(replicated(mesh), batch_sharded(mesh)))
    return made.lower(rows, rows, groups).compile()

def largest(program):
    # elements of the largest array of one device
    shapes = re.findall(r"(?:f32|pred|s32)\\[([0-9,]+)\\]", program.as_text())
    return max(math.prod(int(n) for n in shape.split(",")) for shape in shapes)

for devices in (1, 8):
    mesh = make_mesh(devices)
    whole, blocks = (compiled(block_pairs, mesh) for block_pairs in (0, LossConfig().block_pairs))
    sizes = [largest(program) for program in (whole, blocks)]
    assert sizes[0] == (2 * b) ** 2 // devices, sizes  # the check sees the whole matrix where there is one
    assert sizes[1] == 2 * b * 2 * LossConfig().block_pairs // devices, sizes
    memory = [program.memory_analysis().temp_size_in_bytes for program in (whole, blocks)]
    assert memory[1] < memory[0] / 2, memory
    looped = blocks.as_text().split("ENTRY")[0]
    assert "all-gather" not in looped and "all-reduce" not in looped.replace("all-reduce-scatter", "")
print("in blocks")
"""


def test_4096_pairs_on_eight_devices_hold_no_whole_matrix_and_no_row_moves_in_the_loop():
    assert "in blocks" in run_program(PROGRAM, devices=8)
