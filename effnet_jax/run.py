"""Train a run and report on it: the parts of the other modules, put together."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from effnet_jax.config import Config, ConfigError, EvalConfig, Settings
from effnet_jax.data.source import Split
from effnet_jax.experiment import ON_TEST, ON_VALIDATION, Experiment, prepare
from effnet_jax.models.attention import choose_attention
from effnet_jax.models.vit import PRESETS
from effnet_jax.retrieval.embeddings import evaluate_embeddings
from effnet_jax.retrieval.evaluator import save_embeddings
from effnet_jax.retrieval.metrics import Summary, photo_to_sketch, reciprocal_rank, summarise
from effnet_jax.retrieval.ranking import Ranking, accuracy_at_k
from effnet_jax.retrieval.report import Evaluation, print_evaluations, write_metrics, write_ranks
from effnet_jax.sharding import replicated
from effnet_jax.stages.alignment import alignment_stage
from effnet_jax.stages.stage import Ranked, Stage, abstract_state, fresh_state
from effnet_jax.stages.trsm import trsm_stage
from effnet_jax.training.checkpoints import Checkpoints
from effnet_jax.training.flops import step_flops, total_peak
from effnet_jax.training.loop import fit
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.profile import profiled
from effnet_jax.training.state import TrainState
from effnet_jax.training.step import make_train_step
from effnet_jax.training.writers import TrainLog


def train(config: Config | Settings, workdir: str | os.PathLike[str]) -> list[Evaluation]:
    """Train, or go on where the run in `workdir` left off, then report on the test set.

    Args:
        config: a Config, or nested mappings such as the ConfigDict of a file in configs/.
        workdir: folder of this one run.

    Returns:
        The evaluations of the report: last, and best on validation where photos are held out.

    Raises:
        ConfigError: bad configuration, or a folder that belongs to another one.
        DataError: the data set cannot be had or is faulty.
        WeightsError: the pretrained weights cannot be had or do not fit.
        DivergedError: the loss is no longer finite.
        InterruptedRun: SIGTERM or Ctrl-C; the state is saved.
    """
    experiment = prepare(config, workdir)
    with experiment.checkpoints() as checkpoints:
        stage = make_stage(experiment)
        train_until_done(experiment, stage, checkpoints)
        return report(experiment, stage, checkpoints)


def evaluate(config: Config | Settings, workdir: str | os.PathLike[str]) -> list[Evaluation]:
    """Report on the checkpoints of a run, finished or not; the `eval` section may differ from when it was trained.

    Raises:
        ConfigError: no run of this configuration in `workdir`, or no checkpoint yet.
    """
    if not (Path(workdir).expanduser() / "config.json").exists():
        raise ConfigError(f"there is no run in {workdir}; train it first with --mode=train, or check --workdir.")
    experiment = prepare(config, workdir, free_sections=("log", "eval"))
    with experiment.checkpoints() as checkpoints:
        return report(experiment, make_stage(experiment), checkpoints)


def make_stage(experiment: Experiment) -> Stage:
    """Choose the stage of a run."""
    return (trsm_stage if experiment.config.trsm.enabled else alignment_stage)(experiment)


def train_until_done(experiment: Experiment, stage: Stage, checkpoints: Checkpoints) -> TrainState:
    """Assemble the parts of the training loop and run it to the last step."""
    config = experiment.config
    init_key, draw_key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))
    state = first_or_latest_state(experiment, stage, checkpoints, init_key)
    start = int(state.step)
    if start >= experiment.total_steps:
        return state
    optimizer = make_optimizer(config.optim, experiment.total_steps)
    train_step = make_train_step(stage.objective, optimizer, draw_key, experiment.mesh)
    with (
        TrainLog(
            experiment.workdir,
            start_step=start,
            total_steps=experiment.total_steps,
            batch_size=config.train.batch_size,
            tensorboard=config.log.tensorboard,
            progress=config.log.progress,
            step_flops=0.0 if config.trsm.enabled else step_flops(config),
            peak_flops=total_peak(experiment.mesh.devices.flatten().tolist()),
        ) as log,
        profiled(train_step, config.log.profile_steps, start, experiment.workdir) as train_step,
    ):
        if config.log.progress and config.model.backbone in PRESETS:
            log.say(describe_attention(config))
        return fit(
            state,
            stage.batches(start, draw_key),
            train_step,
            make_selection_metrics(experiment, stage),
            total_steps=experiment.total_steps,
            log_every=config.train.log_every_steps,
            evaluate_every=max(1, round(config.train.eval_every_epochs * experiment.steps_per_epoch)),
            save_every=config.train.checkpoint_every_steps,
            log=log,
            checkpoints=checkpoints,
            about=experiment.about,
            mesh=experiment.mesh,
        )


def describe_attention(config: Config) -> str:
    """Say which attention a ViT takes, and why."""
    width, _, heads = PRESETS[config.model.backbone]
    width, heads = config.model.width or width, config.model.heads or heads
    tokens = 1 + (config.model.image_size // config.model.patch_size) ** 2
    name, why = choose_attention(config.model.attention, config.model.dtype, tokens, heads, width // heads)
    return f"attention: {name} ({why})"


def first_or_latest_state(experiment: Experiment, stage: Stage, checkpoints: Checkpoints, key: jax.Array) -> TrainState:
    """Restore the newest checkpoint, or start from pretrained or random parameters."""
    latest = checkpoints.latest()
    if latest is not None:
        return checkpoints.restore(latest, abstract_state(experiment, stage.init))

    def start(key: jax.Array) -> TrainState:
        return fresh_state(experiment.config, stage.init, experiment.total_steps, key)

    state = jax.jit(start, out_shardings=replicated(experiment.mesh))(key)
    params, batch_stats = stage.pretrained(state.variables)
    return dataclasses.replace(state, params=params, batch_stats=batch_stats)


def make_selection_metrics(experiment: Experiment, stage: Stage) -> Callable[[TrainState], dict[str, float]]:
    """Make the function that measures a state on the held-out photos, and on the test set only where asked for."""
    config = experiment.config
    names = [name for name in ("validation",) if name in experiment.splits]
    names += ["test"] if config.eval.best_on_test else []

    def measure(state: TrainState) -> dict[str, float]:
        metrics = {}
        for name in names:
            ranking = stage.rank(state.variables, name, stage.selection_protocol).ranking
            ks = [k for k in {1, *config.eval.ks} if k <= ranking.gallery_size]
            metrics |= {f"eval/{name}/acc@{k}": 100 * accuracy_at_k(ranking, k) for k in sorted(ks)}
            metrics[f"eval/{name}/mrr"] = 100 * float(np.mean(reciprocal_rank(ranking.better, ranking.tied)))
        return metrics

    return measure


def report(experiment: Experiment, stage: Stage, checkpoints: Checkpoints) -> list[Evaluation]:
    """Evaluate the chosen checkpoints on the test set, under each protocol; write and print what they reach.

    Writes metrics.json, and for each checkpoint a folder with ranks.csv, embeddings.npz and the retrieval grid; for
    every protocol but the encoder's, a folder with its name behind.

    Raises:
        ConfigError: there is no checkpoint yet.
    """
    config, split = experiment.config, experiment.splits["test"]
    chosen = choose(experiment, checkpoints)
    if not chosen:
        raise ConfigError(f"{experiment.workdir} has no checkpoint yet; train it first with --mode=train.")
    like, evaluations = abstract_state(experiment, stage.init), []
    for folder, (selection, step) in chosen.items():
        variables = checkpoints.restore(step, like).variables
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
            if jax.process_index() == 0:
                out = experiment.workdir / (folder if protocol == "encoder" else f"{folder}_{protocol}")
                write_ranks(out / "ranks.csv", ranked.ranking, split.sketch_ids, split.photo_ids, split.photo_index)
                if ranked.embeddings is not None:
                    save_embeddings(out / "embeddings.npz", ranked.embeddings, split)
                draw_grid(out / "retrieval.png", evaluation, ranked.ranking, split, config.eval.grid_rows)
    if jax.process_index() == 0:
        write_metrics(experiment.workdir / "metrics.json", evaluations)
        print_evaluations(evaluations)
    return evaluations


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
    if experiment.config.eval.best_on_test and (best := checkpoints.best(ON_TEST)) is not None:
        chosen["best_on_test"] = ("best on test (optimistic)", best)
    return chosen


def draw_grid(path: Path, evaluation: Evaluation, ranking: Ranking, split: Split, rows: int) -> None:
    """Draw the retrieval grid of some sketches, drawn at random by the run's seed, under the figures they belong to."""
    if not rows:
        return
    from effnet_jax.analysis.grid import retrieval_grid, select_queries

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


def evaluate_file(path: str | os.PathLike[str], workdir: str | os.PathLike[str] | None = None) -> Evaluation:
    """Rank embeddings that another system made, print the report, and write it to `workdir` where one is given.

    Raises:
        ValueError: arrays that are missing or do not fit together.
    """
    evaluation, _ = evaluate_embeddings(path, out=workdir)
    print_evaluations([evaluation])
    return evaluation
