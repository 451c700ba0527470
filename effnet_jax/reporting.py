"""The report of a run: chosen checkpoints, evaluated on the test set under each protocol, written and printed."""

import functools
from pathlib import Path

from effnet_jax.config import ConfigError, EvalConfig
from effnet_jax.data.split import Split, name_measured, title_of
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.evaluation import Evaluation, print_evaluations
from effnet_jax.retrieval.metrics import Summary, photo_to_sketch, summarise
from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.choice import LAST, ON_TEST, ON_VALIDATION, WORDS
from effnet_jax.runs.results import evaluation_name, write_embeddings, write_metrics, write_ranks
from effnet_jax.runtime.hosts import is_first, only_first
from effnet_jax.runtime.sharding import gathered
from effnet_jax.stages.stage import Ranked, Stage


def report(experiment: Experiment, stage: Stage, checkpoints: Checkpoints) -> list[Evaluation]:
    """Evaluate the chosen checkpoints on the test set, or on what is held out, under each protocol; write and print.

    Writes metrics.json, and for each checkpoint a folder with ranks.csv, embeddings.npz and the retrieval grid; for
    every protocol but the encoder's, a folder with its name behind. A checkpoint that several rules come to is
    evaluated once.

    Raises:
        ConfigError: there is no checkpoint yet, or none that `eval.best_on_test` could choose.
    """
    config = experiment.config
    split = experiment.splits[config.eval.split]
    chosen = choose(experiment, checkpoints)
    if not chosen:
        raise ConfigError(f"{experiment.run.folder} has no checkpoint yet; train it first with --mode=train.")
    start = start.all_notes if (start := experiment.run.start) else ()
    evaluations = []
    for step, rules in chosen.items():
        variables = gathered(checkpoints.restore(step, stage.state).variables, experiment.mesh)
        for protocol in config.eval.protocols:
            ranked = stage.rank(variables, config.eval.split, protocol)
            summary, reverse = measure_split(ranked._replace(notes=(*ranked.notes, *start)), split, config.eval)
            evaluation = Evaluation(
                summary=summary,
                dataset=config.data.name,
                split=name_measured(config.eval.split, drawn=split.drawn),
                split_sha256=split.sha256,
                step=step,
                selection=", also ".join(rules.values()),
                seed=config.train.seed,
                protocol=protocol,
                photo_to_sketch=reverse,
                chosen_as=tuple(rules),
                folder=evaluation_name(next(iter(rules)), protocol),
            )
            evaluations.append(evaluation)
            only_first("writing the report", functools.partial(write_ranking, experiment, evaluation, ranked, split))
    only_first("writing the report", lambda: write_metrics(experiment.run.metrics_file, evaluations))
    if is_first():
        print_evaluations(evaluations)
    return evaluations


def write_ranking(experiment: Experiment, evaluation: Evaluation, ranked: Ranked, split: Split) -> None:
    """Write what belongs to one checkpoint and protocol: ranks, embeddings where there are any, and the picture."""
    run, name = experiment.run, evaluation.folder
    write_ranks(run.ranks_file(name), ranked.ranking, split.sketch_ids, split.photo_ids, split.photo_index)
    if ranked.embeddings is not None:
        write_embeddings(
            run.embeddings_file(name),
            *ranked.embeddings,
            sketch_ids=split.sketch_ids,
            photo_ids=split.photo_ids,
            photo_index=split.photo_index,
            tags=split.tags,
        )
    draw_grid(run.grid_file(name), evaluation, ranked.ranking, split, experiment.config.eval.grid_rows)


def measure_split(ranked: Ranked, split: Split, config: EvalConfig) -> tuple[Summary, Summary | None]:
    """Measure a ranking, and the other direction where it is asked for and there are embeddings."""
    summary = summarise(ranked.ranking, split.photo_index, tags=split.tags, ks=config.ks, notes=ranked.notes)
    if not config.photo_to_sketch or ranked.embeddings is None:
        return summary, None
    return summary, photo_to_sketch(*ranked.embeddings, split.photo_index, ks=config.ks)


def choose(experiment: Experiment, checkpoints: Checkpoints) -> dict[int, dict[str, str]]:
    """Name the checkpoints to report on: step -> the rules that come to it, each in words."""
    latest = checkpoints.latest()
    if latest is None:
        return {}
    last = WORDS[LAST]
    if latest < experiment.total_steps:
        last = f"latest, run stopped before its {experiment.total_steps} steps"
    chosen = {latest: {LAST: last}}
    measured = experiment.config.eval.split
    if "validation" in experiment.splits and measured != "validation" and (best := checkpoints.chosen(ON_VALIDATION)):
        photos = len(experiment.splits["validation"].photo_ids)
        drawn = ", drawn" if experiment.splits["validation"].drawn else ""
        chosen.setdefault(best[1], {})[ON_VALIDATION] = f"best on validation (MRR, {photos} photos{drawn})"
    if experiment.config.eval.best_on_test:
        if (best := checkpoints.chosen(ON_TEST)) is None:
            raise ConfigError(
                f"eval.best_on_test: no checkpoint of {experiment.run.folder} was measured on the test set while it "
                "was trained; train with it, or leave it off."
            )
        chosen.setdefault(best[1], {})[ON_TEST] = WORDS[ON_TEST]
    return chosen


def draw_grid(path: Path, evaluation: Evaluation, ranking: Ranking, split: Split, rows: int) -> None:
    """Draw the retrieval grid of some sketches, chosen by the run's seed, under the figures that they belong to."""
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
        title=f"{title_of(evaluation.dataset, evaluation.split)}: {figures}",
        subtitle=f"{counts}; checkpoint: {evaluation.selection}, step {evaluation.step}; sketches chosen at random",
    )
