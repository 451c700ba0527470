"""Domain centring: the mean embedding of each domain, over training pictures, is taken off before cosines are compared.

score(s, p) = cos(e_s / |e_s| - m_S, e_p / |e_p| - m_P). What sketches have in common, and photos, then plays no part.
What is left is scaled to unit norm again wherever unit norms are promised, such as in an index.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.retrieval.scores import unit_rows

Centres = Mapping[str, Float32[np.ndarray, " z"]]  # by domain; empty where nothing is taken off


def domain_means(embeddings: Embeddings) -> dict[str, Float32[np.ndarray, " z"]]:
    """Give the mean of the unit embeddings of sketches and of photos.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.encoders.evaluator import Embeddings
        >>> two = np.array([[2, 0], [0, 3]], np.float32)
        >>> domain_means(Embeddings(two, two))["photo"].tolist()
        [0.5, 0.5]
    """
    return {domain: unit_rows(rows).mean(axis=0) for domain, rows in zip(("sketch", "photo"), embeddings, strict=True)}


def centred(rows: Float32[np.ndarray, "b z"], centres: Centres, domain: str) -> Float32[np.ndarray, "b z"]:
    """Scale embeddings to unit norm, take their domain's mean off, and scale what is left again."""
    unit = unit_rows(rows)
    return unit_rows(unit - centres[domain]) if centres else unit


def centred_split(embeddings: Embeddings, centres: Centres) -> Embeddings:
    """Centre the sketches and the photos of a split; as they are where there are no centres."""
    if not centres:
        return embeddings
    return Embeddings(centred(embeddings.sketches, centres, "sketch"), centred(embeddings.photos, centres, "photo"))
