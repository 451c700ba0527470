"""Dropout whose draws belong to the row, not to the batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class RowDropout:
    """Drops entries with a key of its own for each row and each place in a module; without keys all passes through.

    Args:
        rate: share dropped, in [0, 1); what is kept is scaled up.
        keys: one for each index of the leading axes; None at test.
    """

    def __init__(self, rate: float, keys: Key[Array, "*rows"] | None):
        self.rate, self.keys = rate, keys

    def __call__(self, x: Float[Array, "..."], place: int) -> Float[Array, "..."]:
        """Drop entries of x, whose leading axes are those of the keys; each `place` draws its own."""
        if self.keys is None or not self.rate:
            return x
        shape = x.shape[self.keys.ndim :]

        def draw(key: Key[Array, ""]) -> Array:
            return jax.random.bernoulli(jax.random.fold_in(key, place), 1 - self.rate, shape)

        for _ in range(self.keys.ndim):
            draw = jax.vmap(draw)
        return jnp.where(draw(self.keys), x / (1 - self.rate), 0).astype(x.dtype)
