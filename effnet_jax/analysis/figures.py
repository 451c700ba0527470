"""All figures of a run, from what its evaluation saved and, where pictures or attention are shown, its checkpoint."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from effnet_jax.analysis.accuracy_curve import draw_accuracy_curve
from effnet_jax.analysis.attention import make_attention_maps
from effnet_jax.analysis.attention_distance import draw_attention_distance, pixel_distance, token_distance
from effnet_jax.analysis.attention_overlay import draw_attention, patch_attention
from effnet_jax.analysis.grid import retrieval_grid, select_queries
from effnet_jax.analysis.results import Results, read_results
from effnet_jax.analysis.similarity import draw_similarities, similarities
from effnet_jax.analysis.training_curves import draw_training_curves, read_scalars
from effnet_jax.analysis.tsne import draw_tsne, embed_in_the_plane
from effnet_jax.config import Config, from_mapping
from effnet_jax.data.preprocessing import normalise, resize
from effnet_jax.data.source import Split
from effnet_jax.experiment import Experiment, load_splits
from effnet_jax.models.effnet import make_functional
from effnet_jax.retrieval.encoders import Encoders
from effnet_jax.sharding import make_mesh
from effnet_jax.stages.alignment import alignment_stage
from effnet_jax.trained import trained_encoders
from effnet_jax.training.workdir import CHECKPOINTS

ATTENTION_PAIRS = 64  # sketches, and their photos, over which the attention distance is averaged
ATTENTION_BATCH = 8  # attention maps are large: 12 layers of 197 x 197 for 12 heads are 22 MB a picture
OVERLAYS = 8
DESIGNERS = 12  # retrieval grids by tag at most


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on disk.

    Attributes:
        kind: key of FIGURES.
        title: for the report.
        caption: what it shows, and how its examples were chosen.
        files: PNG first, then SVG.
    """

    kind: str
    title: str
    caption: str
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Source:
    """What figures are drawn from; data and checkpoint are opened when a figure first needs them."""

    results: Results
    config: Config
    out: Path
    seed: int = 0

    @cached_property
    def split(self) -> Split:
        """The split that was evaluated; its files must be those of then."""
        figures = self.results.figures
        split = load_splits(self.config)[figures["split"]]
        if split.sha256 != figures["split_sha256"]:
            raise ValueError(
                f"the files of {figures['dataset']} / {figures['split']} changed since the run was evaluated (split hash "
                f"{figures['split_sha256'][:12]} then, {split.sha256[:12]} now); restore them, or evaluate again."
            )
        return split

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders that were evaluated."""
        return trained_encoders(self.results.run / CHECKPOINTS / str(self.results.step))


def draw_figures(
    run: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    only: Sequence[str] = (),
    data_dir: str | None = None,
    tfds_dir: str | None = None,
) -> tuple[list[Drawn], list[str]]:
    """Draw the figures of a run as PNG and SVG.

    Args:
        run: folder of the run.
        out: where the files go; None: `figures/` in the run.
        name: evaluation, such as "last"; None: best_on_validation where there is one, else last.
        only: some of FIGURES; empty for all.
        data_dir: where the data set's folder is now, if not where it was when the run was trained.
        tfds_dir: where built data sets are now, likewise.

    Returns:
        What was drawn, and one sentence for each figure that could not be.

    Raises:
        ValueError: no evaluated run, or an unknown figure.
    """
    unknown = [kind for kind in only if kind not in FIGURES]
    if unknown:
        raise ValueError(f"unknown figures {', '.join(unknown)}; there are {', '.join(FIGURES)}.")
    results = read_results(run, name)
    config = from_mapping(json.loads((results.run / "config.json").read_text(encoding="utf-8")))
    places = {key: value for key, value in (("dir", data_dir), ("tfds_dir", tfds_dir)) if value}
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **places))
    source = Source(results, config, Path(out).expanduser() if out else results.run / "figures")
    drawn, notes = [], []
    for kind in only or FIGURES:
        try:
            drawn += FIGURES[kind](source)
        except (ValueError, OSError) as error:  # data that moved, a checkpoint that is gone: the others are still drawn
            notes.append(f"{kind} was not drawn: {error}")
    return drawn, notes


def _accuracy(source: Source) -> list[Drawn]:
    results = source.results
    files = draw_accuracy_curve(
        source.out / "accuracy", {results.figures["selection"]: (results.ranking, results.photo_index)},
        subtitle=results.caption,
    )  # fmt: skip
    caption = "Acc@K with its 95 % interval, which keeps the sketches of one photo together; ties by expectation."
    return [Drawn("accuracy", "Accuracy", caption, tuple(files))]


def _grids(source: Source) -> list[Drawn]:
    results, split, rows = source.results, source.split, source.config.eval.grid_rows or 6
    choices: list[tuple[str, str, str, Any]] = [
        ("random", "Retrieval, random sketches", "sketches drawn at random",
         select_queries(results.ranking, rows, seed=source.seed)),
        ("hardest", "Retrieval, hardest sketches", "the sketches of the worst ranks, worst first",
         select_queries(results.ranking, rows, rule="hardest")),
    ]  # fmt: skip
    tags = sorted(set(results.tags))
    if 1 < len(tags) <= DESIGNERS:
        for tag in tags:
            own = np.flatnonzero(np.array(results.tags) == tag)
            chosen = np.sort(np.random.default_rng(source.seed).permutation(own)[: max(2, rows // 2)])
            how = f"sketches tagged {tag} (of {len(own)}), drawn at random"
            choices.append((f"tag_{_safe(tag)}", f"Retrieval, tag {tag}", how, chosen))
    drawn = []
    f = results.figures
    title = f"{f['dataset']}: " + "  ".join(f"Acc@{k} {100 * v['value']:.1f} %" for k, v in _accuracies(f).items())
    for stem, name, how, chosen in choices:
        files = []
        for kind in ("png", "svg"):
            path = source.out / f"retrieval_{stem}.{kind}"
            subtitle = f"{results.caption.partition(': ')[2]}; {how}"
            files.append(retrieval_grid(split, results.ranking, chosen, path, title=title, subtitle=subtitle))
        caption = f"{how[0].upper()}{how[1:]}. The true photo is framed and marked; under each photo its score."
        drawn.append(Drawn("grids", name, caption, tuple(files)))
    return drawn


def _training(source: Source) -> list[Drawn]:
    scalars = read_scalars(source.results.run / "metrics.jsonl")
    files = draw_training_curves(source.out / "training", scalars, subtitle=source.results.run.name)
    return [Drawn("training", "Training", "From metrics.jsonl; the held-out photos are training photos.", tuple(files))]


def _similarity(source: Source) -> list[Drawn]:
    results = source.results
    scores = similarities(results.sketches, results.photos)
    files = draw_similarities(source.out / "similarity", scores, results.photo_index, subtitle=results.caption)
    caption = (
        "Cosine of every sketch with every photo. Rows are sorted by their photo: the true pairs form the staircase."
    )
    return [Drawn("similarity", "Similarities", caption, tuple(files))]


def _tsne(source: Source) -> list[Drawn]:
    results = source.results
    points = embed_in_the_plane(results.sketches, results.photos, seed=source.seed)
    files = draw_tsne(
        source.out / "tsne", *points, results.photo_index, source.split, subtitle=results.caption
    )  # fmt: skip
    caption = f"t-SNE of the unit embeddings (scikit-learn, PCA start, seed {source.seed}); short lines are close pairs."
    return [Drawn("tsne", "t-SNE", caption, tuple(files))]


def _attention(source: Source) -> list[Drawn]:
    encoders, results, split = source.encoders, source.results, source.split
    config, how = encoders.config, encoders.preprocessing
    chosen = np.sort(np.random.default_rng(source.seed).permutation(len(results.sketch_ids))[:ATTENTION_PAIRS])
    images = {
        "sketch": [resize(split.sketch(i), how.image_size, how.resample) for i in chosen.tolist()],
        "photo": [resize(split.photo(int(results.photo_index[i])), how.image_size, how.resample) for i in chosen],
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
            for start in range(0, len(pictures), ATTENTION_BATCH):
                batch = normalise(np.stack(pictures[start : start + ATTENTION_BATCH]), how)
                maps = functions[domain](params, batch)
                tokens = maps.shape[-1]
                token.append(np.asarray(token_distance(maps)))
                pixel.append(np.asarray(pixel_distance(maps, config.patch_size)))
                weight.append(len(batch))
                grid, words = patch_attention(np.asarray(maps), config.pooling)
                patches.append(grid)
            distances[domain, moment] = tuple(np.average(x, axis=0, weights=weight) for x in (token, pixel))
            if moment == "after":
                overlays[domain] = np.concatenate(patches)[shown]
    counts = f"{len(chosen)} sketches, drawn at random, and their photos"
    subtitle = f"{results.caption}; {counts}; lines: mean over heads, dots: heads"
    files = draw_attention_distance(source.out / "attention_distance", distances, tokens=tokens, subtitle=subtitle)
    pairs = [(results.sketch_ids[chosen[i]], images["sketch"][i], images["photo"][i]) for i in shown]
    overlay = draw_attention(
        source.out / "attention", pairs, overlays["sketch"], overlays["photo"], subtitle=f"{results.caption}; {words}"
    )
    caption = "How far a token attends, by layer. Left on the flat token index, as in the paper, CLS included; right "
    caption += f"between patch centres. {note}"
    return [
        Drawn("attention", "Attention distance", caption.strip(), tuple(files)),
        Drawn("attention", "Attention maps", f"{words[0].upper()}{words[1:]}. Sketches drawn at random.", tuple(overlay)),
    ]


def _start(source: Source) -> tuple[Any, str]:
    """The parameters that the run started from: the same draw, and the same pretrained weights where they can be had."""
    config = source.config
    if config.trsm.enabled:
        return None, "The encoders of a stage-2 run are frozen."
    model, like = make_functional(config.model), source.encoders.preprocessing
    experiment = Experiment(config, source.results.run, make_mesh(), {}, like, model, 1.0, 1)
    try:
        stage = alignment_stage(experiment)
        key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))[0]  # as effnet_jax.run does
        return stage.pretrained(jax.jit(stage.init)(key))["model"], ""
    except ValueError as error:
        return None, f"Before training is not shown: {error}"


def _accuracies(figures: Any) -> dict[str, Any]:
    return {key.partition("@")[2]: value for key, value in figures.items() if key.startswith("acc@")}


def _safe(tag: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in tag)


FIGURES: dict[str, Callable[[Source], list[Drawn]]] = {
    "accuracy": _accuracy,
    "grids": _grids,
    "similarity": _similarity,
    "tsne": _tsne,
    "attention": _attention,
    "training": _training,
}
