"""InfoNCE and the alignment objective of EffNet."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from effnet_jax import blockwise
from effnet_jax.config import LossConfig
from effnet_jax.models.encoder import Encoding

NORM_FLOOR = 1e-12  # rows are divided by max(norm, NORM_FLOOR)
TERMS = ("multi", "intra_sketch", "intra_photo", "inter")


def unit_norm(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Scale rows to unit Euclidean norm, in float32 or wider.

    The norm is floored inside the square root, so a zero row stays zero and its gradient is finite (the upstream
    gradient over the floor); a plain square root gives NaN there.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, NORM_FLOOR**2))


def info_nce(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    temperature: float | Float[Array, ""] = 0.07,
    groups: Int[Array, "b"] | None = None,
    *,
    block_pairs: int = 0,
) -> Float[Array, ""]:
    """NT-Xent / InfoNCE over both sets of rows: row i of `first` and row i of `second` are partners.

    All 2b - 2 other rows, of both sets, are negatives, except those of the row's own group: two sketches of one photo
    must not repel each other. Under jit on a mesh the batch is the global one, whichever device holds which rows.

    Args:
        first: features or embeddings, any scale; compared by cosine.
        second: their partners.
        temperature: divides the cosines; above 0.
        groups: the photo of each pair; None makes every other row a negative (the paper's behaviour).
        block_pairs: a larger batch is compared with so many of its pairs at a time, and the (2b, 2b) matrix of
            similarities is never held; value and gradient are the same. 0 always holds it.

    Returns:
        Mean over the 2b rows of -log softmax at the partner. 0 for a batch of one pair.

    Source: EffNet's contrastive loss. The groups are ours.
    """
    b = first.shape[0]
    if 0 < block_pairs < b:
        return _info_nce_in_blocks(first, second, temperature, groups, block_pairs)
    z = unit_norm(jnp.concatenate([first, second]))  # (2b, d)
    logits = jnp.einsum("i d, j d -> i j", z, z, precision=jax.lax.Precision.HIGHEST) / temperature  # (2b, 2b)
    row = jnp.arange(2 * b)
    partner = (row + b) % (2 * b)
    excluded = row[:, None] == row[None, :]
    if groups is not None:
        group = jnp.concatenate([groups, groups])
        same = group[:, None] == group[None, :]
        excluded |= same & (row[None, :] != partner[:, None])
    log_normaliser = jax.nn.logsumexp(jnp.where(excluded, -jnp.inf, logits), axis=1)  # (2b,)
    return jnp.mean(log_normaliser - logits[row, partner])


def _info_nce_in_blocks(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    temperature: float | Float[Array, ""],
    groups: Int[Array, "b"] | None,
    block_pairs: int,
) -> Float[Array, ""]:
    z = unit_norm(jnp.stack([first, second]))  # (2, b, d), so that a sharded batch stays where it is
    temperature = jnp.asarray(temperature, z.dtype)
    groups = jnp.arange(z.shape[1]) if groups is None else groups
    normaliser = blockwise.log_normaliser(z, temperature, groups, block_pairs)
    return jnp.mean(normaliser) - jnp.mean(jnp.sum(z[0] * z[1], axis=-1)) / temperature


def alignment_loss(
    sketch: Encoding,
    photo: Encoding,
    augmented_sketch: Encoding | None = None,
    augmented_photo: Encoding | None = None,
    *,
    config: LossConfig,
    temperature: float | Float[Array, ""] | None = None,
    photo_index: Int[Array, "b"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """EffNet's objective: the weighted sum of the multi, intra and inter terms, and of MSTR's where there is one.

    Args:
        sketch: encodings of the anchor view (A0).
        photo: encodings of the anchor view of each sketch's photo.
        augmented_sketch: encodings of the other view (A1) of the same sketches; None where its term has weight 0.
        augmented_photo: encodings of the other view of the same photos; likewise.
        config: weights, temperature, and whether sketches of one photo are negatives.
        temperature: overrides the configured one, where it is learned.
        photo_index: which photo each pair belongs to; needed unless `config.same_photo_negatives`.

    Returns:
        The loss and its unweighted terms by name.

    Raises:
        ValueError: photo_index is missing where the mask needs it, or encodings where a term has a weight.

    Source: EffNet section 3, L = multi + intra (sketch) + intra (photo) + inter, all weights 1.
    """
    if photo_index is None and not config.same_photo_negatives:
        raise ValueError("alignment_loss needs photo_index to mask sketches of one photo (or same_photo_negatives).")
    groups = None if config.same_photo_negatives else photo_index
    scale = config.temperature if temperature is None else temperature
    pairs = {"multi": (sketch.embedding, photo.embedding), "inter": (sketch.feature, photo.feature)}
    if augmented_sketch is not None:
        pairs["intra_sketch"] = (augmented_sketch.feature, sketch.feature)
    if augmented_photo is not None:
        pairs["intra_photo"] = (augmented_photo.feature, photo.feature)
    missing = [name for name in TERMS if name not in pairs and getattr(config, name)]
    if missing:
        raise ValueError(f"alignment_loss: {', '.join(missing)} have a weight but no augmented encodings.")
    blocks = config.block_pairs
    terms = {name: info_nce(*pairs[name], scale, groups, block_pairs=blocks) for name in TERMS if name in pairs}
    if sketch.decorrelation is not None and photo.decorrelation is not None:
        terms["decorrelation"] = jnp.mean(sketch.decorrelation) + jnp.mean(photo.decorrelation)
    return weighted_total(terms, config), terms


def weighted_total(terms: dict[str, Float[Array, ""]], config: LossConfig) -> Float[Array, ""]:
    """Sum the terms with their configured weights."""
    return sum((getattr(config, name) * value for name, value in terms.items()), start=jnp.zeros(()))


def pair_cross_entropy(
    scores: Float[Array, "b b"],
    temperature: float | Float[Array, ""] = 0.07,
    groups: Int[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Contrast the scores of all pairs of a batch: mean of the rows' and the columns' cross-entropy.

    Args:
        scores: of sketch i with photo j, such as cosines; the partners stand on the diagonal.
        temperature: divides the scores; above 0.
        groups: the photo of each pair; other sketches and copies of one's own photo are left out. None: nothing is.

    Returns:
        0 for a batch of one pair.

    Source: ours, for pair scorers: a sketch meets every photo in training as it does at retrieval.
    """
    logits = scores.astype(jnp.float32) / temperature
    if groups is not None:
        same = (groups[:, None] == groups[None, :]) & ~jnp.eye(len(groups), dtype=bool)
        logits = jnp.where(same, -jnp.inf, logits)
    rows, columns = jax.nn.logsumexp(logits, axis=1), jax.nn.logsumexp(logits, axis=0)
    return jnp.mean((rows + columns) / 2 - jnp.diagonal(logits))
