"""All figures of a run, from what its evaluation saved and, where pictures or attention are shown, its checkpoint."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.data.split import title_of
from effnet_jax.figures.accuracy_curve import accuracy_curve
from effnet_jax.figures.attention_figures import attention_figures
from effnet_jax.figures.drawn import Drawn, FigureSource
from effnet_jax.figures.evaluated import read_evaluated
from effnet_jax.figures.grid import retrieval_grid, select_queries
from effnet_jax.figures.similarity import draw_similarities, similarities
from effnet_jax.figures.training_curves import draw_training_curves, read_scalars
from effnet_jax.figures.tsne import draw_tsne, embed_in_the_plane
from effnet_jax.presentation.accuracy_plot import draw_accuracy_curves
from effnet_jax.presentation.plot_style import plot_files
from effnet_jax.retrieval.metrics import Measure
from effnet_jax.runtime.progress import track

DESIGNERS = 12  # retrieval grids by tag at most
LARGEST_K = 50  # where the curve of Acc@K ends, where the gallery reaches that far


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
        out: where the files go; None: `figures/` in the run, for another evaluation than the default `figures/<name>/`.
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
    results = read_evaluated(run, name)
    config = results.run.config
    data = dataclasses.replace(config.data, dir=data_dir or config.data.dir, tfds_dir=tfds_dir or config.data.tfds_dir)
    config = dataclasses.replace(config, data=data)
    own = results.run.figures / ("" if results.default else results.name)  # evaluations never share a file
    source = FigureSource(results, config, Path(out).expanduser() if out else own)
    drawn, notes = [], []
    kinds = list(only or FIGURES)
    for kind in track(kinds, total=len(kinds), description="drawing figures"):
        try:
            drawn += FIGURES[kind](source)
        except (ValueError, OSError) as error:  # data that moved, a checkpoint that is gone: the others are still drawn
            notes.append(f"{kind} was not drawn: {error}")
    return drawn, notes


def _accuracy(source: FigureSource) -> list[Drawn]:
    results = source.results
    gallery = results.ranking.gallery_size
    ks = np.arange(1, min(LARGEST_K, gallery) + 1)
    curve = accuracy_curve(results.ranking, results.saved.photo_index, ks)
    numbers = "   ".join(f"Acc@{k} {Measure(*curve[:, k - 1].tolist())}" for k in (1, 5, 10) if k <= len(ks))
    curves = {f"{results.figures['selection']}\n{numbers}": curve}
    files = draw_accuracy_curves(source.out / "accuracy", curves, chance_of=gallery, subtitle=results.caption)
    caption = "Acc@K with its 95 % interval, which keeps the sketches of one photo together; ties by expectation."
    return [Drawn("accuracy", "Accuracy", caption, tuple(files))]


def _grids(source: FigureSource) -> list[Drawn]:
    results, split, rows = source.results, source.split, source.config.eval.grid_rows or 6
    choices: list[tuple[str, str, str, Any]] = [
        ("random", "Retrieval, random sketches", "sketches chosen at random",
         select_queries(results.ranking, rows, seed=source.seed)),
        ("hardest", "Retrieval, hardest sketches", "the sketches of the worst ranks, worst first",
         select_queries(results.ranking, rows, rule="hardest")),
    ]  # fmt: skip
    tags = sorted(set(results.saved.tags or ()))
    if 1 < len(tags) <= DESIGNERS:
        for tag, stem in zip(tags, _stems(tags), strict=True):
            own = np.flatnonzero(np.array(results.saved.tags) == tag)
            chosen = np.sort(np.random.default_rng(source.seed).permutation(own)[: max(2, rows // 2)])
            how = f"sketches tagged {tag} (of {len(own)}), chosen at random"
            choices.append((stem, f"Retrieval, tag {tag}", how, chosen))
    accuracies = {key: value for key, value in results.figures.items() if key.startswith("acc@")}
    shown = (f"{key.replace('acc', 'Acc')} {100 * value['value']:.1f} %" for key, value in accuracies.items())
    title = f"{title_of(results.figures['dataset'], results.figures['split'])}: {'  '.join(shown)}"
    drawn = []
    for stem, name, how, chosen in choices:
        subtitle = f"{results.caption.partition(': ')[2]}; {how}"
        files = plot_files(source.out / f"retrieval_{stem}")
        for path in files:
            retrieval_grid(split, results.ranking, chosen, path, title=title, subtitle=subtitle)
        caption = f"{how[0].upper()}{how[1:]}. The true photo is framed and marked; under each photo its score."
        drawn.append(Drawn("grids", name, caption, tuple(files)))
    return drawn


def _training(source: FigureSource) -> list[Drawn]:
    scalars = read_scalars(source.results.run.scalars_file)
    files = draw_training_curves(source.out / "training", scalars, subtitle=source.results.run.folder.name)
    return [Drawn("training", "Training", "From metrics.jsonl; the held-out photos are training photos.", tuple(files))]


def _similarity(source: FigureSource) -> list[Drawn]:
    saved = source.results.saved
    scores, subtitle = similarities(saved.sketches, saved.photos), source.results.encoder_caption
    files = draw_similarities(source.out / "similarity", scores, saved.photo_index, subtitle=subtitle)
    caption = (
        "Cosine of every sketch with every photo. Rows are sorted by their photo: the true pairs form the staircase."
    )
    return [Drawn("similarity", "Similarities", caption, tuple(files))]


def _tsne(source: FigureSource) -> list[Drawn]:
    saved, subtitle = source.results.saved, source.results.encoder_caption
    points = embed_in_the_plane(saved.sketches, saved.photos, seed=source.seed)
    files = draw_tsne(source.out / "tsne", *points, saved.photo_index, source.split, subtitle=subtitle)
    caption = (
        f"t-SNE of the unit embeddings (scikit-learn, PCA start, seed {source.seed}); short lines are close pairs."
    )
    return [Drawn("tsne", "t-SNE", caption, tuple(files))]


def _stems(tags: list[str]) -> list[str]:
    """Names of files, all different, also where a file system does not tell upper from lower case."""
    safe = ["".join(c if c.isalnum() or c in "-_" else "-" for c in tag) for tag in tags]
    if len({name.casefold() for name in safe}) < len(safe):
        safe = [f"{i}_{name}" for i, name in enumerate(safe, 1)]
    return [f"tag_{name}" for name in safe]


FIGURES: dict[str, Callable[[FigureSource], list[Drawn]]] = {
    "accuracy": _accuracy,
    "grids": _grids,
    "similarity": _similarity,
    "tsne": _tsne,
    "attention": attention_figures,
    "training": _training,
}
