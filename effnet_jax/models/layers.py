"""Layers that several backbones share."""

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

INIT_STD = 0.02
BATCH_NORM_MOMENTUM = 0.1  # weight of the new batch in the running statistics, torch's convention

dense_init = nnx.initializers.truncated_normal(INIT_STD)


def linear(inputs: int, outputs: int, dtype: DTypeLike, rngs: nnx.Rngs, *, use_bias: bool = True) -> nnx.Linear:
    """Make a linear layer that starts from a normal distribution, truncated at two of its deviations of 0.02.

    Example:
        >>> linear(3, 4, jnp.float32, nnx.Rngs(0))(jnp.ones((2, 3))).shape
        (2, 4)
    """
    return nnx.Linear(inputs, outputs, use_bias=use_bias, kernel_init=dense_init, dtype=dtype, rngs=rngs)


def layer_norm(width: int, dtype: DTypeLike, rngs: nnx.Rngs, *, epsilon: float = 1e-6) -> nnx.LayerNorm:
    """Make a layer norm whose variance is taken in two passes; the fast one costs a factor of ten in parity.

    Example:
        >>> layer_norm(2, jnp.float32, nnx.Rngs(0))(jnp.array([1.0, 3.0])).round(3).tolist()
        [-1.0, 1.0]
    """
    return nnx.LayerNorm(width, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs)


def per_token(layer: nnx.Linear, x: Float[Array, "*b n d"]) -> Float[Array, "*b n f"]:
    """Apply a linear layer to a plain matrix of tokens: its weight gradient is one large product, faster on CPU.

    Example:
        >>> per_token(linear(3, 4, jnp.float32, nnx.Rngs(0)), jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    flat = layer(x.reshape(-1, x.shape[-1]))
    return flat.reshape(*x.shape[:-1], flat.shape[-1])


@jax.custom_jvp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exact GELU, x times the normal distribution function at x; computed in float32 or wider.

    Written with erf: jax.nn.gelu takes erfc, which on CPU is more than twice as slow. Its derivative is given, so that
    training keeps one array of it.

    Example:
        >>> [round(x, 4) for x in gelu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
        [-0.1587, 0.0, 0.8413]
    """
    wide = _widen(x)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (change,) = primals, tangents
    wide = _widen(x)
    below = _normal_cdf(wide)
    density = jnp.exp(-0.5 * wide * wide) * (2 * math.pi) ** -0.5
    return (wide * below).astype(x.dtype), (below + wide * density).astype(x.dtype) * change


def _widen(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + jax.lax.erf(x * 0.5**0.5))


class Mlp(nnx.Module):
    """Two linear layers around the exact (erf) GELU; the tanh form is off by 2e-3 after one block.

    Example:
        >>> Mlp(4, 16, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 4))).shape
        (2, 5, 4)
    """

    def __init__(self, width: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.fc1 = linear(width, hidden, dtype, rngs)
        self.fc2 = linear(hidden, width, dtype, rngs)

    def __call__(self, x: Float[Array, "*b n d"]) -> Float[Array, "*b n d"]:
        """Apply the same two layers to every token."""
        return per_token(self.fc2, gelu(per_token(self.fc1, x)))


def drop_path(
    branch: Float[Array, "b ..."], keys: Key[Array, "b"] | None, rate: float, place: int
) -> Float[Array, "b ..."]:
    """Leave a residual branch out for whole rows at random while training; what is kept is scaled up.

    Args:
        branch: output of the branch, before it is added.
        keys: one per row, so that a draw does not depend on the rows beside it; None leaves the branch as it is.
        rate: share of the rows that lose the branch, 0..1.
        place: number of the branch in the network; each draws its own.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth".

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 16)
        >>> dropped = drop_path(jnp.ones((16, 3)), keys, rate=0.5, place=0)
        >>> sorted(set(map(tuple, dropped.tolist())))
        [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    if keys is None or rate == 0:
        return branch
    kept = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate))(keys)  # (b,)
    kept = kept.reshape(-1, *(1,) * (branch.ndim - 1))
    return jnp.where(kept, branch / (1 - rate), jnp.zeros_like(branch))


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Give each block of each stage its rate: from 0 at the first block linearly to `rate` at the last.

    Example:
        >>> drop_path_rates(0.5, (2, 1))
        [[0.0, 0.25], [0.5]]
    """
    total = sum(depths)
    flat = [rate * i / max(total - 1, 1) for i in range(total)]
    return [[flat.pop(0) for _ in range(depth)] for depth in depths]


class RowDropout:
    """Drops entries with a key of its own for each row and each place in a module; without keys all passes through.

    Args:
        rate: share dropped, in [0, 1); what is kept is scaled up.
        keys: one for each index of the leading axes; None at test.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> dropped = RowDropout(0.5, keys)(jnp.ones((2, 8)), place=0)
        >>> sorted(set(dropped.flatten().tolist()))
        [0.0, 2.0]
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


class BatchNorm(nnx.Module):
    """Batch normalisation as torch computes it: running variance unbiased, momentum 0.1.

    Under jit on a mesh the mean is over all rows of the global batch, wherever they lie, so the statistics are the same
    for any number of devices.

    Args:
        width: channels.
        epsilon: added to the variance.
        dtype: of the output; the norm itself is computed in float32 or wider.
        rngs: unused source of keys, as for other modules.

    Example:
        >>> norm = BatchNorm(1, rngs=nnx.Rngs(0))
        >>> norm(jnp.array([[[[1.0]], [[3.0]]]]), training=True).round(3).flatten().tolist()
        [-1.0, 1.0]
        >>> norm.mean[...]  # a tenth of the way to the batch's
        Array([0.2], dtype=float32)
    """

    def __init__(self, width: int, *, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        del rngs
        self.epsilon = epsilon
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.mean = nnx.BatchStat(jnp.zeros(width))
        self.var = nnx.BatchStat(jnp.ones(width))

    def __call__(self, x: Float[Array, "b h w d"], training: bool) -> Float[Array, "b h w d"]:
        """Normalise by the batch while training (and note its statistics), else by the running statistics."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if training:
            mean = jnp.mean(x, axis=(0, 1, 2))
            var = jnp.mean(jnp.square(x - mean), axis=(0, 1, 2))
            count = x.size // x.shape[-1]
            self.mean[...] = _towards(self.mean[...], mean)
            self.var[...] = _towards(self.var[...], var * (count / max(count - 1, 1)))
        else:
            mean, var = self.mean[...], self.var[...]
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return ((x - mean) * factor + self.bias[...]).astype(self.dtype)


def _towards(running: Float[Array, "d"], batch: Float[Array, "d"]) -> Float[Array, "d"]:
    return (1 - BATCH_NORM_MOMENTUM) * running + BATCH_NORM_MOMENTUM * jax.lax.stop_gradient(batch)


class ConvNorm(nnx.Module):
    """Convolution without bias and a batch norm; padding is symmetric, as in torch.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: height and width of the kernel.
        stride: of both directions.
        padding: rows and columns added on each side.
        epsilon: of the batch norm.
        dtype: compute dtype.
        rngs: source of the initialisation key.

    Example:
        >>> layer = ConvNorm(3, 4, (3, 3), stride=2, padding=(1, 1), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 8, 8, 3)), training=False).shape
        (1, 4, 4, 4)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        epsilon: float = 1e-5,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.conv = convolution(inputs, outputs, kernel, stride, padding, use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs, epsilon=epsilon, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], training: bool) -> Float[Array, "b i j d"]:
        """Convolve and normalise; no activation."""
        return self.norm(self.conv(x), training)


def convolution(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    *,
    use_bias: bool,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Make a convolution with the same padding on both sides, initialised for ReLU (He et al. 2015).

    Example:
        >>> convolve = convolution(3, 4, (3, 3), 1, (0, 0), use_bias=True, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> convolve(jnp.ones((1, 8, 8, 3))).shape
        (1, 6, 6, 4)
    """
    return nnx.Conv(
        inputs,
        outputs,
        kernel,
        strides=(stride, stride),
        padding=[(p, p) for p in padding],
        use_bias=use_bias,
        kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "truncated_normal"),
        dtype=dtype,
        rngs=rngs,
    )


def max_pool(x: Float[Array, "b h w d"], window: int, stride: int, padding: int = 0) -> Float[Array, "b i j d"]:
    """Take the maximum over windows; incomplete windows at the end are left out, as in torch.

    Example:
        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), window=2, stride=2)[0, :, :, 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]
    """
    pads = ((padding, padding), (padding, padding))
    # apart: XLA for the CPU (jaxlib 0.12.0) fuses it with the bfloat16 convolutions beside it, and returns infinities
    apart = jax.lax.optimization_barrier
    return apart(nnx.max_pool(apart(x), window_shape=(window, window), strides=(stride, stride), padding=pads))


def raster(x: Float[Array, "b i j d"]) -> Float[Array, "b n d"]:
    """Lay the cells of a feature map in a row, left to right and top to bottom.

    Example:
        >>> raster(jnp.arange(4.0).reshape(1, 2, 2, 1))[0, :, 0].tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    return rearrange(x, "b i j d -> b (i j) d")
