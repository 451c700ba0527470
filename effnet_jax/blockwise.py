"""InfoNCE of every row over a large global batch, without its whole matrix of similarities.

The columns are visited in blocks, forward and backward, so that only (rows, one block) of the matrix exists at a time.
Under jit on a mesh the rows stay on the devices that hold them; the columns, which are small, go to all, once: say the
mesh by jax.sharding.use_abstract_mesh, as the training step does.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Bool, Float, Int


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def row_losses(
    z: Float[Array, "2 b d"], temperature: Float[Array, ""], groups: Int[Array, "b"], block_pairs: int
) -> Float[Array, "2 b"]:
    """Give log sum_k exp(z_i . z_k / T) - z_i . z_p(i) / T of every row i, where p(i) is its partner.

    The sum runs over all rows k but i itself and others of its group's pairs. No loss is below zero: the partner's
    logit is read from the very products that are summed.

    Args:
        z: unit rows of both sets; [0, i] and [1, i] are partners.
        temperature: T, above 0.
        groups: pairs of one group are not compared; the partner always is.
        block_pairs: pairs whose two columns are visited at a time, 1 or more.

    Raises:
        ValueError: no pairs, groups of another length, or block_pairs below 1.

    Source: the streamed log-sum-exp of Milakov and Gimelshein 2018. The backward pass is ours: the matrix is symmetric,
    so each row finds what reaches it as a row and as a column in the same block.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.blockwise import row_losses
        >>> z = jnp.stack([jnp.eye(2), jnp.eye(2)])  # both partners are alike, and at right angles to the other pair
        >>> losses = row_losses(z, jnp.float32(1.0), jnp.arange(2), 1)  # all are log(e + 2) - 1
        >>> [[round(x, 3) for x in row] for row in losses.tolist()]
        [[0.551, 0.551], [0.551, 0.551]]
    """
    return _forward(z, temperature, groups, block_pairs)[0]


def _forward(z: Array, temperature: Array, groups: Array, block_pairs: int) -> tuple[Array, tuple[Array, ...]]:
    if not len(groups) or z.shape[:2] != (2, len(groups)) or block_pairs < 1:
        raise ValueError(
            "row_losses needs at least one pair, one group per pair, and block_pairs >= 1: got "
            f"z {z.shape}, groups {groups.shape}, block_pairs={block_pairs}."
        )

    def visit(carry: tuple[Array, ...], columns: dict[str, Array]) -> tuple[tuple[Array, ...], None]:
        largest, total, of_partner = carry
        logits, partner = _logits(z, columns, temperature, groups)  # (2, b, 2, c)
        new = jnp.maximum(largest, jnp.max(logits, axis=(2, 3)))
        # a row whose blocks were all masked so far has -inf for its largest, which must not become -inf - -inf
        shift = jnp.where(new == -jnp.inf, 0.0, new)
        summed = jnp.sum(jnp.exp(logits - shift[:, :, None, None]), axis=(2, 3))
        of_partner += jnp.sum(jnp.where(partner, logits, 0.0), axis=(2, 3))
        return (new, total * jnp.exp(largest - shift) + summed, of_partner), None

    zeros = jnp.zeros_like(z[..., 0])
    start = (jnp.full_like(zeros, -jnp.inf), zeros, zeros)
    (largest, total, of_partner), _ = jax.lax.scan(visit, start, _blocks({"rows": z}, groups, block_pairs))
    normaliser = largest + jnp.log(total)
    return normaliser - of_partner, (z, temperature, groups, normaliser)


def _backward(block_pairs: int, kept: tuple[Array, ...], upstream: Array) -> tuple[Array, Array, np.ndarray]:
    z, temperature, groups, normaliser = kept

    def visit(carry: tuple[Array, Array], columns: dict[str, Array]) -> tuple[tuple[Array, Array], None]:
        of_rows, of_temperature = carry
        logits, partner = _logits(z, columns, temperature, groups)
        as_row = upstream[:, :, None, None] * (jnp.exp(logits - normaliser[:, :, None, None]) - partner)
        as_column = columns["upstream"] * (jnp.exp(logits - columns["normaliser"]) - partner)
        of_rows += _product("sitj,tjd->sid", as_row + as_column, columns["rows"])
        of_temperature += jnp.sum(as_row * jnp.where(logits == -jnp.inf, 0.0, logits))
        return (of_rows, of_temperature), None

    across = {"rows": z, "normaliser": normaliser, "upstream": upstream}
    start = (jnp.zeros_like(z), jnp.zeros_like(temperature))
    (of_rows, of_temperature), _ = jax.lax.scan(visit, start, _blocks(across, groups, block_pairs))
    return of_rows / temperature, -of_temperature / temperature, np.zeros(groups.shape, float0)


row_losses.defvjp(_forward, _backward)


def _blocks(arrays: dict[str, Array], groups: Array, block_pairs: int) -> dict[str, Array]:
    """Cut the pairs, axis 1 of the arrays, into blocks in front; the last is filled up with pairs that are masked."""
    b = len(groups)
    count = -(-b // block_pairs)
    arrays, groups = jax.tree.map(_on_every_device, (arrays, groups))
    missing = count * block_pairs - b
    cut = {}
    for name, x in arrays.items():
        padded = jnp.pad(x, ((0, 0), (0, missing)) + ((0, 0),) * (x.ndim - 2))
        cut[name] = jnp.moveaxis(padded.reshape(2, count, block_pairs, *x.shape[2:]), 1, 0)  # (count, 2, c, ...)
    pair = jnp.arange(count * block_pairs)
    cut["pair"] = pair.reshape(count, block_pairs)
    cut["group"] = jnp.pad(groups, (0, missing)).reshape(count, block_pairs)
    cut["valid"] = (pair < b).reshape(count, block_pairs)
    return cut


def _logits(
    z: Array, columns: dict[str, Array], temperature: Array, groups: Array
) -> tuple[Float[Array, "2 b 2 c"], Bool[Array, "2 b 2 c"]]:
    """Compare all rows with a block of columns, -inf where they are not to be compared; and tell which are partners."""
    logits = _product("sid,tjd->sitj", z, columns["rows"]) / temperature
    pair = jnp.arange(len(groups))[:, None] == columns["pair"][None, :]  # (b, c)
    others = ~pair & (groups[:, None] == columns["group"][None, :])
    same_set = jnp.eye(2, dtype=bool)[:, None, :, None]
    pair = pair[None, :, None, :]
    excluded = (others | ~columns["valid"])[None, :, None, :] | (same_set & pair)
    return jnp.where(excluded, -jnp.inf, logits), ~same_set & pair


def _on_every_device(x: Array) -> Array:
    """Gather columns once, before the loop; left alone, the partitioner may gather each block inside it."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or any(kind != AxisType.Auto for kind in mesh.axis_types):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def _product(letters: str, a: Array, b: Array) -> Array:
    return jnp.einsum(letters, a, b, precision=jax.lax.Precision.HIGHEST)
