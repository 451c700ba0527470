"""Pretrained weights: find the file, and lay it into the parameters of a model or an encoder."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from effnet_jax.config import ModelConfig, TrsmConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_encoder, make_recycling
from effnet_jax.models.encoder import Encoder
from effnet_jax.models.layers import dense_init
from effnet_jax.models.presets import BACKBONES, preset_of
from effnet_jax.models.trees import Tree, shapes_of
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.weights.encoder_weights import RECYCLING, EncoderWeights, encoder_tree
from effnet_jax.weights.errors import WeightsError, refusing
from effnet_jax.weights.files.contents import SIDES, read_contents
from effnet_jax.weights.lay import lay
from effnet_jax.weights.names.published_names import UNUSED_TRSM, effnet_trsm
from effnet_jax.weights.sources import read_source

__all__ = ["WeightsError", "find_weights", "load_encoder", "load_encoders", "load_trsm"]

log = logging.getLogger(__name__)
DOMAINS = {"encoder": "", "sketch_encoder": "sketch", "photo_encoder": "photo"}  # of the encoders of a model
HUB_PREFIX = "timm/"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", ".ckpt")


def load_encoders(config: ModelConfig, params: Tree, batch_stats: Tree) -> tuple[Tree, Tree]:
    """Load the weights that `config.weights` names into every encoder of a model.

    A file with a sketch and a photo encoder (the authors' checkpoints), or a folder with a file for each, fills each
    with its own; a shared encoder takes the photo's. An embedding head and token recycling are taken along where the
    file has them, else the model's own stay.

    Args:
        config: architecture and the name of the weights; not "none".
        params: parameters of the model: `encoder`, or `sketch_encoder` and `photo_encoder`.
        batch_stats: its batch statistics; empty where there are none.

    Returns:
        Parameters and batch statistics: what was loaded as float32 NumPy arrays, the rest as it was.

    Raises:
        WeightsError: no such file, no network, tensors that do not fit (all of them at once), or a file for one domain
            where the model has two encoders.
    """
    path = find_weights(config.weights, config.backbone)
    source = read_source(path)
    by_domain = {weights.domain: weights for weights in source.encoders}
    if len(params) > 1 and len(by_domain) == 1 and "" not in by_domain:
        raise WeightsError(
            f"model.weights: {path} holds the {', '.join(by_domain)} encoder alone, and this model has two. Give the "
            "folder that holds the files of both (effnet-jax export writes such a one), as --config.model.weights="
            "FOLDER, or set model.shared_encoders=true."
        )
    loaded, statistics = dict(params), dict(batch_stats)
    for name in params:
        weights = by_domain.get(DOMAINS[name]) or by_domain.get("photo") or source.encoders[0]
        tree, stats = _fit(weights, config, params[name], batch_stats.get(name) or {})
        if RECYCLING in tree:  # of the authors' MSTR there is a part
            tree[RECYCLING] = {**params[name][RECYCLING], **tree[RECYCLING]}
        loaded[name] = {**params[name], **tree}
        if stats:
            statistics[name] = {**batch_stats[name], **stats}
    return loaded, statistics


def load_encoder(
    path: str | Path, *, domain: str = "", embedding_size: int = 0, random_recycling: bool = False, **changes: Any
) -> tuple[Encoder, Preprocessing]:
    """Make the encoder that a file holds, whatever its kind, ready to use.

    Where nothing tells the attention heads of a ViT and `heads` does not say them, 64 channels per head are assumed,
    and a warning says so.

    Args:
        path: file of any kind that `effnet-jax convert` reads, or a folder with one for sketches and one for photos.
        domain: "sketch" or "photo", where there are both.
        embedding_size: width of a new, random head; needed where the file has a backbone only.
        random_recycling: take random transformers for the authors' MSTR, whose files lack them.
        changes: fields of ModelConfig to change, such as image_size, or heads.

    Returns:
        The encoder, and the preprocessing of its images.

    Raises:
        WeightsError: nothing that is known, tensors that do not fit, no head and no `embedding_size`, an MSTR without
            its transformers and no `random_recycling`.
    """
    source = read_source(path)
    choices = {weights.domain: weights for weights in source.encoders}
    if domain not in choices and len(choices) > 1:
        raise WeightsError(f"{path} has the encoders {', '.join(choices)}; say which with domain=.")
    weights = choices.get(domain) or source.encoders[0]
    if weights.found.head is None and not embedding_size:
        raise WeightsError(f"{path} has a backbone without an embedding head; give embedding_size for a new one.")
    config = dataclasses.replace(weights.config, **changes)
    if embedding_size:
        config = dataclasses.replace(config, embedding_size=embedding_size)
    if "heads" in weights.assumed and "heads" not in changes:
        log.warning(
            "%s does not tell the attention heads of its ViT: heads=%d is assumed. With another number the embeddings "
            "are others; give it as load_encoder(..., heads=N).",
            weights.where,
            preset_of(config).heads,
        )
    pixels = dataclasses.replace(weights.preprocessing, image_size=config.image_size)
    weights = dataclasses.replace(weights, config=config, preprocessing=pixels)
    params, statistics = encoder_tree(weights, head=not embedding_size, whole=not random_recycling)
    if random_recycling and config.token_recycling:
        drawn = nnx.state(make_recycling(config, rngs=nnx.Rngs(params=jax.random.key(0))), nnx.Param)
        params[RECYCLING] = {**nnx.to_pure_dict(drawn), **params.get(RECYCLING, {})}
    encoder = nnx.eval_shape(lambda: make_encoder(config, rngs=nnx.Rngs(params=jax.random.key(0))))
    if "head" not in params:
        kernel = dense_init(jax.random.key(0), shapes_of(config)[0]["head"]["kernel"].shape)
        params["head"] = {"kernel": kernel, "bias": np.zeros(config.embedding_size, np.float32)}
    graphdef = nnx.split(encoder, nnx.Param, nnx.BatchStat)[0]
    return nnx.merge(graphdef, *jax.tree.map(jnp.asarray, (params, statistics))), pixels


def load_trsm(path: str | Path, model: ModelConfig, trsm: TrsmConfig) -> Tree:
    """Read the token module of the authors' stage 2 and its two heads, as parameters of our TRSM.

    Its second set of intra weights, which the authors' code never uses, is left out; the encoders of the same file are
    read by `load_encoder` and `load_encoders`.

    Args:
        path: checkpoint of the authors' stage 2 (.pth), or its tensors under the same names (.safetensors).
        model: whose token width and embedding size the file must have.
        trsm: tells the heads, which no file does.

    Returns:
        What `make_functional_trsm(model, trsm)` takes, as float32 NumPy arrays.

    Raises:
        WeightsError: no such tensors, or tensors that do not fit; all of them.
    """
    path, table = Path(path).expanduser(), effnet_trsm()
    with refusing(path):
        contents = read_contents(path)
        own = {name: x for name, x in contents.tensors.items() if name.partition(".")[0] not in SIDES.values()}
        if not any(name in own for name in table):
            raise WeightsError(f"{path} ({contents.kind}) holds no TRSM of EffNet's authors: it has no tensor trsm.*.")
        like = jax.eval_shape(make_functional_trsm(model, trsm).init, jax.random.key(0))
        source = f"{path} (the authors' names of TRSM)"
        return lay(contents.read(own), table, like, {}, source=source, ignored=lambda n: n.startswith(UNUSED_TRSM))[0]


def find_weights(name: str, backbone: str = "vit_base") -> Path:
    """Give the local path of a file or folder, or of `timm/NAME.TAG` on the Hugging Face hub.

    Args:
        name: path of any name, timm/NAME.TAG, or "auto" for what is usual for the backbone.
        backbone: which "auto" is meant.

    Raises:
        WeightsError: with where to get the file and where to put it.
    """
    name = BACKBONES[backbone].weights if name == "auto" else name
    path = Path(name).expanduser()
    if path.exists():
        return path
    if path.suffix in SUFFIXES or path.is_absolute():
        raise WeightsError(f"model.weights: there is no file {path.absolute()}; {_ways_out(None)}")
    if not name.startswith(HUB_PREFIX):
        raise WeightsError(
            f"model.weights={name!r} is neither a file or folder that is there, nor timm/NAME.TAG, nor none."
        )
    try:
        from huggingface_hub import hf_hub_download, logging

        logging.set_verbosity_error()  # each retry would be a line; what matters is said below
        hf_hub_download(name, "config.json")  # says what the images must go through
        return Path(hf_hub_download(name, "model.safetensors"))
    except Exception as error:  # the hub raises many kinds: offline, proxy, missing repository, no package
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"model.weights={name!r} could not be fetched ({reason}); {_ways_out(name)}") from error


def _fit(weights: EncoderWeights, config: ModelConfig, params: Tree, stats: Tree) -> tuple[Tree, Tree]:
    try:
        return weights.lay(params, stats)
    except WeightsError as error:
        sizes = f"image_size={config.image_size}"
        sizes += f", patch_size={config.patch_size}" if BACKBONES[config.backbone].family == "vit" else ""
        raise WeightsError(f"{error}\nThe model is model.backbone={config.backbone} ({sizes}).") from error


def _ways_out(name: str | None) -> str:
    page = f"https://huggingface.co/{name}" if name else "https://huggingface.co/timm (see docs/weights.md)"
    return (
        f"download model.safetensors from {page} on a machine with a network, put it anywhere, and give its path with "
        "--config.model.weights=/path/model.safetensors; or train from random numbers with --config.model.weights=none."
    )
