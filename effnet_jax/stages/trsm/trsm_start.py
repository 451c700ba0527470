"""TRSM that starts at the encoder: before its first step every score is the encoder's cosine."""

from typing import Any

import jax
import jax.numpy as jnp

from effnet_jax.encoders.encode_program import encoder_of

Params = dict[str, Any]
_ZERO = {"intra": ("value", "out"), "inter": ("photo_value", "sketch_value", "photo_out", "sketch_out")}


def start_at_encoder(trsm: Params, encoders: Params) -> Params:
    """Change fresh parameters of TRSM so that it gives a pair the embeddings that the encoders give its pictures.

    What mixes tokens and what follows it is zero, so each stream is twice its CLS token; a quarter of both halves
    together is the token itself, on which the encoder's own head stands. Queries and keys stay random. Any learning
    rate moves it from there: the gradient of the zero layers is not zero.

    Args:
        trsm: parameters, drawn.
        encoders: parameters of EffNet, whose heads stand on the CLS token.

    Source: ours; no change of the module.

    Example:
        >>> from effnet_jax.config import ModelConfig, TrsmConfig
        >>> from effnet_jax.models.trsm import make_functional_trsm
        >>> trsm = make_functional_trsm(ModelConfig(width=8, embedding_size=4), TrsmConfig(heads=2))
        >>> head = {"kernel": jnp.ones((8, 4)), "bias": jnp.zeros(4)}
        >>> started = start_at_encoder(trsm.init(jax.random.key(0)), {"encoder": {"head": head}})
        >>> started["photo_proj"]["kernel"].max().item(), started["sketch_head"]["kernel"].sum().item()
        (0.25, 32.0)
    """

    def put(values: Params, like: Params) -> Params:
        return {name: jnp.asarray(values[name], like[name].dtype) for name in like}

    started = dict(trsm)
    for module, layers in _ZERO.items():
        zero = {name: jax.tree.map(jnp.zeros_like, trsm[module][name]) for name in layers}
        started[module] = {**trsm[module], **zero}
    for domain in ("photo", "sketch"):
        projection = trsm[f"{domain}_proj"]
        quarter = jnp.eye(projection["kernel"].shape[1]) / 4
        halves = {"kernel": jnp.concatenate([quarter, quarter]), "bias": jnp.zeros_like(projection["bias"])}
        started[f"{domain}_proj"] = put(halves, projection)
        started[f"{domain}_head"] = put(encoder_of(encoders, domain)["head"], trsm[f"{domain}_head"])
    return started
