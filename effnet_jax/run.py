"""Train a run and report on it: the parts of the other modules, put together."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from effnet_jax.config import Config, ConfigError, Settings
from effnet_jax.data.pipeline import train_batches
from effnet_jax.data.preprocessing import source_size
from effnet_jax.data.source import Split
from effnet_jax.experiment import ON_TEST, ON_VALIDATION, Experiment, prepare
from effnet_jax.retrieval.embeddings import evaluate_embeddings
from effnet_jax.retrieval.evaluator import Embedder, evaluate_split, save_embeddings
from effnet_jax.retrieval.metrics import reciprocal_rank
from effnet_jax.retrieval.ranking import Ranking, accuracy_at_k, rank_gallery
from effnet_jax.retrieval.report import Evaluation, print_evaluations, write_metrics, write_ranks
from effnet_jax.sharding import put_replicated, replicated
from effnet_jax.training.checkpoints import Checkpoints, abstract
from effnet_jax.training.loop import fit
from effnet_jax.training.objective import init_params, make_alignment_objective
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.state import TrainState, make_state
from effnet_jax.training.step import make_train_step
from effnet_jax.training.writers import TrainLog
from effnet_jax.weights.load import load_encoders


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
        train_until_done(experiment, checkpoints)
        return report(experiment, checkpoints)


def evaluate(config: Config | Settings, workdir: str | os.PathLike[str]) -> list[Evaluation]:
    """Report on the checkpoints of a run, finished or not; the `eval` section may differ from when it was trained.

    Raises:
        ConfigError: no run of this configuration in `workdir`, or no checkpoint yet.
    """
    if not (Path(workdir).expanduser() / "config.json").exists():
        raise ConfigError(f"there is no run in {workdir}; train it first with --mode=train, or check --workdir.")
    experiment = prepare(config, workdir, free_sections=("log", "eval"))
    with experiment.checkpoints() as checkpoints:
        return report(experiment, checkpoints)


def train_until_done(experiment: Experiment, checkpoints: Checkpoints) -> TrainState:
    """Assemble the parts of the training loop and run it to the last step."""
    config = experiment.config
    init_key, draw_key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))
    optimizer = make_optimizer(config.optim, experiment.total_steps)
    state = first_or_latest_state(experiment, checkpoints, init_key)
    start = int(state.step)
    if start >= experiment.total_steps:
        return state
    views = {"sketch": config.augment.sketch_views, "photo": config.augment.photo_views}
    sizes = {source_size(view, config.model.image_size) for names in views.values() for view in names}
    batches = train_batches(
        experiment.splits["train"],
        experiment.images("train", tuple(sizes)),
        views=views,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        image_size=config.model.image_size,
        start_step=start,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=config.data.workers or os.cpu_count() or 1,
    )
    objective = make_alignment_objective(config, experiment.model, experiment.preprocessing)
    with TrainLog(
        experiment.workdir,
        start_step=start,
        total_steps=experiment.total_steps,
        batch_size=config.train.batch_size,
        tensorboard=config.log.tensorboard,
        progress=config.log.progress,
    ) as log:
        return fit(
            state,
            batches,
            make_train_step(objective, optimizer, draw_key, experiment.mesh),
            make_selection_metrics(experiment),
            total_steps=experiment.total_steps,
            log_every=config.train.log_every_steps,
            evaluate_every=max(1, round(config.train.eval_every_epochs * experiment.steps_per_epoch)),
            save_every=config.train.checkpoint_every_steps,
            log=log,
            checkpoints=checkpoints,
            about=experiment.about,
            mesh=experiment.mesh,
        )


def abstract_state(experiment: Experiment) -> TrainState:
    """Describe the state of a run, to restore a checkpoint onto it."""
    state = jax.eval_shape(_initialiser(experiment), jax.random.key(0, impl="threefry2x32"))
    return abstract(state, replicated(experiment.mesh))


def first_or_latest_state(experiment: Experiment, checkpoints: Checkpoints, key: jax.Array) -> TrainState:
    """Restore the newest checkpoint, or start from pretrained or random parameters."""
    latest = checkpoints.latest()
    if latest is not None:
        return checkpoints.restore(latest, abstract_state(experiment))
    state = jax.jit(_initialiser(experiment), out_shardings=replicated(experiment.mesh))(key)
    if experiment.config.model.weights == "none":
        return state
    # the same pretrained backbone in every encoder; heads stay random unless the file has them
    loaded = load_encoders(experiment.config.model, state.params["model"], state.batch_stats)
    model, batch_stats = put_replicated(loaded, experiment.mesh)
    return dataclasses.replace(state, params={**state.params, "model": model}, batch_stats=batch_stats)


def _initialiser(experiment: Experiment) -> Callable[[jax.Array], TrainState]:
    optimizer = make_optimizer(experiment.config.optim, experiment.total_steps)
    model = experiment.model
    return lambda key: make_state(init_params(model, experiment.config, key), optimizer, model.init_batch_stats())


def make_selection_metrics(experiment: Experiment) -> Callable[[TrainState], dict[str, float]]:
    """Make the function that measures a state on the held-out photos, and on the test set only where asked for."""
    config = experiment.config
    names = [name for name in ("validation",) if name in experiment.splits]
    names += ["test"] if config.eval.best_on_test else []
    embed = Embedder(experiment.model, experiment.preprocessing, experiment.mesh, config.eval.batch_size)
    images = {name: experiment.images(name, (config.model.image_size,)) for name in names}

    def measure(state: TrainState) -> dict[str, float]:
        metrics = {}
        for name in names:
            embeddings = embed(state.params["model"], images[name], state.batch_stats)
            index = experiment.splits[name].photo_index
            ranking = rank_gallery(embeddings.sketches, embeddings.photos, index, top=0)
            ks = [k for k in {1, *config.eval.ks} if k <= ranking.gallery_size]
            metrics |= {f"eval/{name}/acc@{k}": 100 * accuracy_at_k(ranking, k) for k in sorted(ks)}
            metrics[f"eval/{name}/mrr"] = 100 * float(np.mean(reciprocal_rank(ranking.better, ranking.tied)))
        return metrics

    return measure


def report(experiment: Experiment, checkpoints: Checkpoints) -> list[Evaluation]:
    """Evaluate the chosen checkpoints on the test set; write and print what they reach.

    Writes metrics.json, and for each checkpoint a folder with ranks.csv, embeddings.npz and the retrieval grid.

    Raises:
        ConfigError: there is no checkpoint yet.
    """
    config, split = experiment.config, experiment.splits["test"]
    chosen = choose(experiment, checkpoints)
    if not chosen:
        raise ConfigError(f"{experiment.workdir} has no checkpoint yet; train it first with --mode=train.")
    embed = Embedder(experiment.model, experiment.preprocessing, experiment.mesh, config.eval.batch_size)
    images = experiment.images("test", (config.model.image_size,))
    like, evaluations = abstract_state(experiment), []
    for folder, (selection, step) in chosen.items():
        state = checkpoints.restore(step, like)
        embeddings = embed(state.params["model"], images, state.batch_stats)
        summary, ranking, reverse = evaluate_split(embeddings, split, config.eval)
        evaluation = Evaluation(
            summary=summary,
            dataset=config.data.name,
            split="test",
            split_sha256=split.sha256,
            step=step,
            selection=selection,
            seed=config.train.seed,
            photo_to_sketch=reverse,
        )
        evaluations.append(evaluation)
        if jax.process_index() == 0:
            out = experiment.workdir / folder
            write_ranks(out / "ranks.csv", ranking, split.sketch_ids, split.photo_ids, split.photo_index)
            save_embeddings(out / "embeddings.npz", embeddings, split)
            draw_grid(out / "retrieval.png", evaluation, ranking, split, config.eval.grid_rows)
    if jax.process_index() == 0:
        write_metrics(experiment.workdir / "metrics.json", evaluations)
        print_evaluations(evaluations)
    return evaluations


def choose(experiment: Experiment, checkpoints: Checkpoints) -> dict[str, tuple[str, int]]:
    """Name the checkpoints to report on: folder -> (how it was chosen, step)."""
    latest = checkpoints.latest()
    if latest is None:
        return {}
    done = latest >= experiment.total_steps
    unfinished = f"latest, run stopped before its {experiment.total_steps} steps"
    chosen = {"last": ("last" if done else unfinished, latest)}
    if "validation" in experiment.splits and (best := checkpoints.best(ON_VALIDATION)) is not None:
        photos = len(experiment.splits["validation"].photo_ids)
        chosen["best_on_validation"] = (f"best on validation (MRR, {photos} photos)", best)
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
    counts = f"{summary.queries} sketches, gallery of {summary.gallery} photos"
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
