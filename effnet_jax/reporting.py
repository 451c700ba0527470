"""The report of a run: chosen checkpoints, evaluated on the test set under each protocol, written and printed."""

import functools
from pathlib import Path

from effnet_jax.config import ConfigError, EvalConfig
from effnet_jax.data.split import Split
from effnet_jax.encoders.evaluator import save_embeddings
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.evaluation import Evaluation, print_evaluations, write_metrics, write_ranks
from effnet_jax.retrieval.metrics import Summary, photo_to_sketch, summarise
from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.saved import ON_TEST, ON_VALIDATION
from effnet_jax.runtime.hosts import is_first, only_first
from effnet_jax.runtime.sharding import gathered
from effnet_jax.stages.stage import Ranked, Stage


def report(experiment: Experiment, stage: Stage, checkpoints: Checkpoints) -> list[Evaluation]:
    """Evaluate the chosen checkpoints on the test set, under each protocol; write and print what they reach.

    Writes metrics.json, and for each checkpoint a folder with ranks.csv, embeddings.npz and the retrieval grid; for
    every protocol but the encoder's, a folder with its name behind.

    Raises:
        ConfigError: there is no checkpoint yet, or none that `eval.best_on_test` could choose.
    """
    config, split = experiment.config, experiment.splits["test"]
    chosen = choose(experiment, checkpoints)
    if not chosen:
        raise ConfigError(f"{experiment.workdir} has no checkpoint yet; train it first with --mode=train.")
    evaluations = []
    for folder, (selection, step) in chosen.items():
        variables = gathered(checkpoints.restore(step, stage.state).variables, experiment.mesh)
        for protocol in config.eval.protocols:
            ranked = stage.rank(variables, "test", protocol)
            summary, reverse = measure_split(ranked, split, config.eval)
            evaluation = Evaluation(
                summary=summary,
                dataset=config.data.name,
                split="test",
                split_sha256=split.sha256,
                step=step,
                selection=selection,
                seed=config.train.seed,
                protocol=protocol,
                photo_to_sketch=reverse,
            )
            evaluations.append(evaluation)
            out = experiment.workdir / (folder if protocol == "encoder" else f"{folder}_{protocol}")
            write = functools.partial(write_ranking, out, evaluation, ranked, split, config.eval.grid_rows)
            only_first("writing the report", write)
    only_first("writing the report", lambda: write_metrics(experiment.workdir / "metrics.json", evaluations))
    if is_first():
        print_evaluations(evaluations)
    return evaluations


def write_ranking(out: Path, evaluation: Evaluation, ranked: Ranked, split: Split, grid_rows: int) -> None:
    """Write what belongs to one checkpoint and protocol: ranks, embeddings where there are any, and the picture."""
    write_ranks(out / "ranks.csv", ranked.ranking, split.sketch_ids, split.photo_ids, split.photo_index)
    if ranked.embeddings is not None:
        save_embeddings(out / "embeddings.npz", ranked.embeddings, split)
    draw_grid(out / "retrieval.png", evaluation, ranked.ranking, split, grid_rows)


def measure_split(ranked: Ranked, split: Split, config: EvalConfig) -> tuple[Summary, Summary | None]:
    """Measure a ranking, and the other direction where it is asked for and there are embeddings."""
    summary = summarise(ranked.ranking, split.photo_index, tags=split.tags, ks=config.ks, notes=ranked.notes)
    if not config.photo_to_sketch or ranked.embeddings is None:
        return summary, None
    return summary, photo_to_sketch(*ranked.embeddings, split.photo_index, ks=config.ks)


def choose(experiment: Experiment, checkpoints: Checkpoints) -> dict[str, tuple[str, int]]:
    """Name the checkpoints to report on: folder -> (how it was chosen, step)."""
    latest = checkpoints.latest()
    if latest is None:
        return {}
    done = latest >= experiment.total_steps
    unfinished = f"latest, run stopped before its {experiment.total_steps} steps"
    chosen = {"last": ("last" if done else unfinished, latest)}
    if "validation" in experiment.splits and (best := checkpoints.best(ON_VALIDATION)) is not None:
        rule = f"best on validation (MRR, {len(experiment.splits['validation'].photo_ids)} photos)"
        if best == latest:
            chosen["last"] = (f"{chosen['last'][0]}, also {rule}", latest)
        else:
            chosen["best_on_validation"] = (rule, best)
    if experiment.config.eval.best_on_test:
        if (best := checkpoints.best(ON_TEST)) is None:
            raise ConfigError(
                f"eval.best_on_test: no checkpoint of {experiment.workdir} was measured on the test set while it was "
                "trained; train with it, or leave it off."
            )
        chosen["best_on_test"] = ("best on test (optimistic)", best)
    return chosen


def draw_grid(path: Path, evaluation: Evaluation, ranking: Ranking, split: Split, rows: int) -> None:
    """Draw the retrieval grid of some sketches, drawn at random by the run's seed, under the figures they belong to."""
    if not rows:
        return
    from effnet_jax.figures.grid import retrieval_grid, select_queries

    summary = evaluation.summary
    figures = "  ".join(f"Acc@{k} {measure} %" for k, measure in summary.accuracy.items())
    counts = f"{summary.queries} sketches, gallery of {summary.gallery} photos, protocol {evaluation.protocol}"
    retrieval_grid(
        split,
        ranking,
        select_queries(ranking, rows, seed=evaluation.seed or 0),
        path,
        title=f"{evaluation.dataset}: {figures}",
        subtitle=f"{counts}; checkpoint: {evaluation.selection}, step {evaluation.step}; sketches drawn at random",
    )
