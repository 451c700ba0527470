"""InfoNCE and the alignment objective of EffNet."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from effnet_jax.blockwise import row_losses
from effnet_jax.config import LossConfig
from effnet_jax.models.encoder import Encoding

NORM_FLOOR = 1e-12  # rows are divided by max(norm, NORM_FLOOR)
LARGE = 1e6  # rows with a larger entry are divided by it first: the gradient takes the cube of the norm, in float32
TERMS = ("multi", "intra_sketch", "intra_photo", "inter")


def unit_norm(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Scale rows to unit Euclidean norm, in float32 or wider.

    The norm is floored inside the square root, so a zero row stays zero and its gradient is finite (the upstream
    gradient over the floor); a plain square root gives NaN there. Value and gradient hold up to norms of 1e30.

    Difference from the original, whose norm is infinite from 2e19 on, so that such a row becomes 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.losses import unit_norm
        >>> rows = unit_norm(jnp.array([[3.0, 4.0], [3e30, 4e30], [0.0, 0.0]]))
        >>> [[round(x, 3) for x in row] for row in rows.tolist()]
        [[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))  # of no effect on the result
    x = x / jnp.where(largest > LARGE, largest, 1)
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
        Mean over the 2b rows of -log softmax at the partner, never below 0. 0 for a batch of one pair.

    Raises:
        ValueError: no pairs, or shapes that differ.

    Source: EffNet's contrastive loss. The groups are ours.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax import info_nce
        >>> sketches, photos = jnp.eye(2), jnp.array([[1.0, 0.0], [1.0, 1.0]])  # cosines of the pairs: 1 and 0.71
        >>> round(float(info_nce(sketches, photos)), 3)
        0.282
        >>> round(float(info_nce(sketches, photos, temperature=0.5)), 3)
        0.637
        >>> float(info_nce(sketches, photos, groups=jnp.array([7, 7])))  # both of one photo: nothing to repel
        0.0
    """
    b = len(first)
    if not b or first.shape != second.shape or (groups is not None and groups.shape != (b,)):
        raise ValueError(
            "info_nce needs at least one pair, rows of one shape, and one group per pair: got first "
            f"{first.shape}, second {second.shape}, groups {None if groups is None else groups.shape}."
        )
    if 0 < block_pairs < b:
        z = unit_norm(jnp.stack([first, second]))  # (2, b, d), so that a sharded batch stays where it is
        groups = jnp.arange(b) if groups is None else groups
        return jnp.mean(row_losses(z, jnp.asarray(temperature, z.dtype), groups, block_pairs))
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
        ValueError: photo_index is missing where the mask needs it, or encodings where a term has a weight; no pairs,
            or batches that differ.

    Source: EffNet section 3, L = multi + intra (sketch) + intra (photo) + inter, all weights 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax import Encoding, alignment_loss
        >>> from effnet_jax.config import LossConfig
        >>> far = Encoding(tokens=jnp.zeros((2, 5, 3)), feature=jnp.eye(2, 3), embedding=jnp.eye(2))
        >>> near = Encoding(tokens=jnp.zeros((2, 5, 3)), feature=jnp.ones((2, 3)), embedding=jnp.ones((2, 2)))
        >>> config = LossConfig(intra_sketch=0.0, intra_photo=0.0)  # one view only
        >>> loss, terms = alignment_loss(far, near, config=config, photo_index=jnp.arange(2))
        >>> {name: round(float(term), 3) for name, term in terms.items()}
        {'multi': 2.454, 'inter': 3.368}
        >>> round(float(loss), 3)
        5.822
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
    """Sum the terms with their configured weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.config import LossConfig
        >>> from effnet_jax.losses import weighted_total
        >>> float(weighted_total({"multi": jnp.float32(2.0), "inter": jnp.float32(4.0)}, LossConfig(inter=0.5)))
        4.0
    """
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
        The loss, never below 0. 0 for a batch of one pair.

    Raises:
        ValueError: no pairs, scores that are not square, or groups of another length.

    Source: ours, for pair scorers: a sketch meets every photo in training as it does at retrieval.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.losses import pair_cross_entropy
        >>> scores = jnp.array([[0.9, 0.2], [0.8, 0.7]])  # the second sketch prefers the first photo
        >>> round(float(pair_cross_entropy(scores, temperature=0.1)), 3)
        0.409
        >>> float(pair_cross_entropy(scores, temperature=0.1, groups=jnp.array([7, 7])))  # both of one photo
        0.0
    """
    b = len(scores)
    if not b or scores.shape != (b, b) or (groups is not None and groups.shape != (b,)):
        raise ValueError(
            "pair_cross_entropy needs scores of at least one sketch with as many photos, and one group per pair: got "
            f"scores {scores.shape}, groups {None if groups is None else groups.shape}."
        )
    logits = scores.astype(jnp.float32) / temperature
    if groups is not None:
        same = (groups[:, None] == groups[None, :]) & ~jnp.eye(b, dtype=bool)
        logits = jnp.where(same, -jnp.inf, logits)
    rows, columns = jax.nn.logsumexp(logits, axis=1), jax.nn.logsumexp(logits, axis=0)
    return jnp.mean((rows + columns) / 2 - jnp.diagonal(logits))
