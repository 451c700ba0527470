"""Attention of a run's encoders: how far it reaches before and after training, and where it looks."""

from functools import partial
from typing import Any

import jax
import numpy as np

from effnet_jax.figures.attention_distance import draw_attention_distance, pixel_distance, token_distance
from effnet_jax.figures.attention_maps import make_attention_maps
from effnet_jax.figures.attention_overlay import draw_attention, patch_attention
from effnet_jax.figures.drawn import Drawn, FigureSource
from effnet_jax.images.preprocessing import normalise, resize
from effnet_jax.models.effnet import make_functional
from effnet_jax.runs.starting_point import starting_encoders, with_image_size
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.alignment.alignment_objective import init_variables
from effnet_jax.stages.alignment.alignment_stage import pretrained_variables

PAIRS = 64  # sketches, and their photos, over which the attention distance is averaged
BATCH = 8  # attention maps are large: 12 layers of 197 x 197 for 12 heads are 22 MB per picture
OVERLAYS = 8


def attention_figures(source: FigureSource) -> list[Drawn]:
    """Draw the attention distance and the attention maps of some sketches and their photos.

    Raises:
        ValueError: the backbone is no ViT, the checkpoint is gone, or the data changed.
    """
    encoders, results, split = source.encoders, source.results, source.split
    config, how = encoders.config, encoders.preprocessing
    chosen = np.sort(np.random.default_rng(source.seed).permutation(len(results.saved.sketch_ids))[:PAIRS])
    images = {
        "sketch": [resize(split.sketch(i), how.image_size, how.resample) for i in chosen.tolist()],
        "photo": [resize(split.photo(int(results.saved.photo_index[i])), how.image_size, how.resample) for i in chosen],
    }
    functions = {domain: make_attention_maps(config, domain) for domain in images}
    shown = np.linspace(0, len(chosen) - 1, min(OVERLAYS, len(chosen))).round().astype(int).tolist()
    distances, overlays, words, tokens = {}, {}, "", 0
    before, note = _start(source)
    for moment, params in (("before", before), ("after", encoders.params)):
        if params is None:
            continue
        for domain, pictures in images.items():
            token, pixel, patches, weight = [], [], [], []
            for start in range(0, len(pictures), BATCH):
                batch = normalise(np.stack(pictures[start : start + BATCH]), how)
                maps = functions[domain](params, batch)
                tokens = maps.shape[-1]
                token.append(np.asarray(token_distance(maps)))
                pixel.append(np.asarray(pixel_distance(maps, config.patch_size)))
                weight.append(len(batch))
                grid, words = patch_attention(np.asarray(maps), config.pooling or "cls")
                patches.append(grid)
            distances[domain, moment] = tuple(np.average(x, axis=0, weights=weight) for x in (token, pixel))
            if moment == "after":
                overlays[domain] = np.concatenate(patches)[shown]
    counts = f"{len(chosen)} sketches, chosen at random, and their photos"
    subtitle = f"{results.encoder_caption}; {counts}; lines: mean over heads, bars: standard deviation, dots: heads"
    files = draw_attention_distance(source.out / "attention_distance", distances, tokens=tokens, subtitle=subtitle)
    pairs = [(results.saved.sketch_ids[chosen[i]], images["sketch"][i], images["photo"][i]) for i in shown]
    overlay = draw_attention(
        source.out / "attention",
        pairs,
        overlays["sketch"],
        overlays["photo"],
        subtitle=f"{results.encoder_caption}; {words}",
    )
    caption = "How far a token attends, by layer. Left on the flat token index, as in the paper, CLS included; right "
    caption += f"between patch centres. {note}"
    return [
        Drawn("attention", "Attention distance", caption.strip(), tuple(files)),
        Drawn(
            "attention", "Attention maps", f"{words[0].upper()}{words[1:]}. Sketches chosen at random.", tuple(overlay)
        ),
    ]


def _start(source: FigureSource) -> tuple[Any, str]:
    """The parameters that the run started from, or None and why: the same draw, the same pretrained weights."""
    config = source.config
    if config.trsm.enabled:
        return None, "The encoders of a stage-2 run are frozen."
    try:
        if config.init_from:
            return with_image_size(starting_encoders(config.init_from), config.model.image_size).params, ""
    except ValueError as error:
        return None, f"Before training is not shown: {error}"
    key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))[0]  # as effnet_jax.run does
    try:
        fresh = jax.jit(partial(init_variables, make_functional(config.model), config))(key)
        return pretrained_variables(config.model, make_mesh(), fresh).params["model"], ""
    except ValueError as error:
        return None, f"Before training is not shown: {error}"
