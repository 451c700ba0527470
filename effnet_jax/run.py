"""Train a run and report on it: the parts of the other modules, put together."""

import functools
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack

import jax
import numpy as np

from effnet_jax.config import Config, ConfigError, Settings
from effnet_jax.config_reader import from_mapping
from effnet_jax.experiment import Experiment, prepare
from effnet_jax.models.presets import describe_attention
from effnet_jax.reporting import report
from effnet_jax.retrieval.evaluation import Evaluation, print_evaluations
from effnet_jax.retrieval.metrics import reciprocal_rank
from effnet_jax.retrieval.ranking import accuracy_at_k
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.choice import scalar_name
from effnet_jax.runs.embeddings import evaluate_embeddings
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import FREE_SECTIONS
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.hosts import is_first
from effnet_jax.runtime.sharding import check_divisible, gathered
from effnet_jax.stages.alignment.alignment_stage import AlignmentStage
from effnet_jax.stages.stage import Stage
from effnet_jax.stages.trsm.trsm_stage import TrsmStage
from effnet_jax.training.flops import total_peak
from effnet_jax.training.loop import fit
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.profile import profiled
from effnet_jax.training.step import make_train_step
from effnet_jax.training.writers import TrainLog

log = logging.getLogger(__name__)


def train(config: Config | Settings, workdir: str | os.PathLike[str]) -> list[Evaluation]:
    """Train, or go on where the run in `workdir` left off, then report on the test set.

    Args:
        config: a Config, or nested mappings such as the ConfigDict of a file in configs/.
        workdir: folder of this one run.

    Returns:
        The evaluations of the report: last, and best on validation where photos are held out.

    Raises:
        ConfigError: bad configuration, or a folder that belongs to another one or is being trained in.
        DataError: the data set cannot be had or is faulty.
        WeightsError: the pretrained weights cannot be had or do not fit.
        DivergedError: the loss is no longer finite.
        CheckpointError: a checkpoint could not be written, or none can be read.
        InterruptedRun: SIGTERM or Ctrl-C; the state is saved.
    """
    with ExitStack() as stack:
        experiment = prepare(config, workdir, claim=stack)
        for name in ("batch_size", "micro_batch_size"):
            check_divisible(f"train.{name}", getattr(experiment.config.train, name), experiment.mesh)
        checkpoints = stack.enter_context(experiment.open_checkpoints(clean=True))
        stage = make_stage(experiment)
        train_until_done(experiment, stage, checkpoints)
        return report(experiment, stage, checkpoints)


def evaluate(config: Config | Settings, workdir: str | os.PathLike[str]) -> list[Evaluation]:
    """Report on the checkpoints of a run, finished or not.

    What training did not look at may differ from when it was trained: the `eval` section, weights of TRSM
    and late interaction, and all of the `late` section of a run without that term.

    Args:
        config: that of the run, as in `train`.
        workdir: folder of the run.

    Returns:
        The evaluations of the report, as `train` does.

    Raises:
        ConfigError: no run of this configuration in `workdir`, or no checkpoint yet.
        DataError: the data set cannot be had or is faulty.
        CheckpointError: no checkpoint can be read.
    """
    run = Run(workdir)
    if not run.config_file.exists():
        raise ConfigError(f"there is no run in {run.folder}; train it first with --mode=train, or check --workdir.")
    if not run.steps():
        raise ConfigError(f"{run.folder} has no checkpoint yet; wait for the first, or train it with --mode=train.")
    config = from_mapping(config)
    # what training did not look at may be changed to see what it brings
    weights = ("trsm.weight", "trsm.choose_weight", "late.weight", "late.choose_weight", "late.scale")
    free = (*FREE_SECTIONS, "eval", *weights, *(() if config.loss.late else ("late",)))
    experiment = prepare(config, workdir, free_sections=free)
    with experiment.open_checkpoints() as checkpoints:
        return report(experiment, make_stage(experiment), checkpoints)


def make_stage(experiment: Experiment) -> Stage:
    """Choose the stage of a run."""
    return TrsmStage(experiment) if experiment.config.trsm.enabled else AlignmentStage(experiment)


def train_until_done(experiment: Experiment, stage: Stage, checkpoints: Checkpoints) -> TrainState:
    """Assemble the parts of the training loop and run it to the last step."""
    config = experiment.config
    init_key, draw_key = jax.random.split(jax.random.key(config.train.seed, impl="threefry2x32"))
    state = first_or_latest_state(experiment, stage, checkpoints, init_key)
    start = int(state.step)
    if start >= experiment.total_steps:
        return state
    if config.log.profile_steps[0] > experiment.total_steps:
        raise ConfigError(
            f"log.profile_steps={config.log.profile_steps} lie beyond the last step, {experiment.total_steps}."
        )
    optimizer = make_optimizer(config.optim, experiment.total_steps)
    step = make_train_step(
        stage.objective, optimizer, draw_key, experiment.mesh, stage.shardings, average_decay=config.train.average
    )
    with (
        TrainLog(
            experiment.run.scalars_file,
            experiment.run.tensorboard if config.log.tensorboard else None,
            start_step=start,
            total_steps=experiment.total_steps,
            batch_size=config.train.batch_size,
            progress=config.log.progress,
            writes=is_first(),
            step_flops=stage.step_flops(),
            peak_flops=total_peak(experiment.mesh.devices.flatten().tolist()),
        ) as writer,
        profiled(step, config.log.profile_steps, start, experiment.run.profile) as profiled_step,
    ):
        if config.log.progress:
            said = [experiment.run.start.sentence] if experiment.run.start else []
            for sentence in filter(None, (*said, describe_attention(config.model))):
                writer.say(sentence)
        return fit(
            state,
            stage.batches(start, draw_key, stage.order(state.variables)),
            profiled_step,
            make_selection_metrics(experiment, stage),
            total_steps=experiment.total_steps,
            log_every=config.train.log_every_steps,
            evaluate_every=max(1.0, config.train.eval_every_epochs * experiment.steps_per_epoch),
            save_every=config.train.checkpoint_every_steps,
            log=writer,
            checkpoints=checkpoints,
            metadata=lambda state: {**experiment.metadata, **stage.saved_beside(state.variables)},
            mesh=experiment.mesh,
        )


def first_or_latest_state(experiment: Experiment, stage: Stage, checkpoints: Checkpoints, key: jax.Array) -> TrainState:
    """Restore the newest checkpoint, or start from pretrained or random parameters."""
    restored = checkpoints.restore_latest(stage.state)
    if restored is not None:
        return restored
    lines = experiment.run.scalars_file
    if lines.exists() and lines.stat().st_size and is_first():
        log.warning("%s was started before, but holds no checkpoint; starting anew", experiment.run.folder)
    state = jax.jit(stage.fresh_state, out_shardings=stage.shardings)(key)
    return state.started_with(stage.pretrained(state.variables))


def make_selection_metrics(experiment: Experiment, stage: Stage) -> Callable[[TrainState], dict[str, float]]:
    """Make the function that measures a state on the held-out photos, and on the test set only where asked for."""
    config = experiment.config
    names = ["validation"] if "validation" in experiment.splits else []
    names += ["test"] if config.eval.best_on_test else []

    def measure(state: TrainState) -> dict[str, float]:
        metrics = {}
        variables = gathered(state.variables, experiment.mesh) if names else state.variables
        for name in names:
            ranking = stage.rank(variables, name, stage.selection_protocol).ranking
            ks = [k for k in {1, *config.eval.ks} if k <= ranking.gallery_size]
            named = functools.partial(scalar_name, name, drawn=experiment.splits[name].drawn)
            metrics |= {named(f"acc@{k}"): 100 * accuracy_at_k(ranking, k) for k in sorted(ks)}
            metrics[named("mrr")] = 100 * float(np.mean(reciprocal_rank(ranking.better, ranking.tied)))
        return metrics

    return measure


def evaluate_file(
    path: str | os.PathLike[str], workdir: str | os.PathLike[str] | None = None, config: Config | Settings | None = None
) -> Evaluation:
    """Rank embeddings that another system made, print the report, and write it to `workdir` where one is given.

    Args:
        path: the .npz file.
        workdir: folder for the report.
        config: as in `train`; `eval.ks` and `eval.photo_to_sketch` say what is measured. None: the defaults.

    Raises:
        ValueError: arrays that are missing or do not fit together.
        ConfigError: bad configuration; or `workdir` holds a training run, or another program's files that would be
            lost.
    """
    wanted = from_mapping(config or {}).eval
    evaluation, _ = evaluate_embeddings(path, out=workdir, ks=wanted.ks, with_photo_to_sketch=wanted.photo_to_sketch)
    print_evaluations([evaluation])
    return evaluation
