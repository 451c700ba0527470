"""The trained encoders of a run, for export."""

import json
from pathlib import Path
from typing import Any

import jax

from effnet_jax.config import Config, ConfigError, from_mapping
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.sharding import make_mesh, replicated
from effnet_jax.training.checkpoints import Checkpoints, abstract
from effnet_jax.training.objective import init_params
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.state import make_state
from effnet_jax.training.workdir import CHECKPOINTS, has_checkpoints
from effnet_jax.weights.export import TrainedEncoder

SELECTIONS = {"best": "eval/validation/mrr", "best_on_test": "eval/test/acc@1"}


def load_run(workdir: str | Path, checkpoint: str = "") -> tuple[list[TrainedEncoder], dict[str, Any]]:
    """Read the encoders of a run from one of its checkpoints, without its data.

    Args:
        workdir: folder of the run.
        checkpoint: "last", "best" (on validation), "best_on_test", a step, or "" for the best on validation where
            photos were held out, else the last.

    Returns:
        One encoder for both domains, or sketch and photo; and where they come from.

    Raises:
        ConfigError: no run, no checkpoint, or not that one.
    """
    workdir = Path(workdir).expanduser().absolute()
    if not (workdir / "config.json").is_file() or not has_checkpoints(workdir):
        raise ConfigError(f"there is no run with a checkpoint in {workdir}; give the --workdir of a training run.")
    config = from_mapping(json.loads((workdir / "config.json").read_text()))
    mesh, model = make_mesh(1), make_functional(config.model)
    optimizer = make_optimizer(config.optim, max(config.optim.warmup_steps + 1, 10**9))
    key = jax.random.key(0)
    like = jax.eval_shape(lambda: make_state(init_params(model, config, key), optimizer, model.init_batch_stats()))
    with Checkpoints(workdir / CHECKPOINTS, keep=config.train.keep_checkpoints) as checkpoints:
        step, selection = _choose(checkpoints, checkpoint, workdir)
        state = jax.device_get(checkpoints.restore(step, abstract(like, replicated(mesh))))
    preprocessing = _preprocessing(config)
    encoders = [
        TrainedEncoder(
            name.removesuffix("encoder").removesuffix("_"),
            config.model,
            state.params["model"][name],
            state.batch_stats.get(name, {}),
            preprocessing,
        )
        for name in sorted(state.params["model"], reverse=True)  # sketch before photo
    ]
    return encoders, {"data": config.data.name, "step": step, "selection": selection, "seed": config.train.seed}


def _choose(checkpoints: Checkpoints, asked: str, workdir: Path) -> tuple[int, str]:
    steps = checkpoints.steps()
    if asked in SELECTIONS or not asked:
        best = checkpoints.best(SELECTIONS[asked or "best"])
        if best is not None:
            return best, asked or "best"
        if asked:
            raise ConfigError(f"{workdir} has no checkpoint that was measured for {asked!r}; it has steps {steps}.")
    if asked in ("", "last"):
        return steps[-1], "last"
    if asked.isdigit() and int(asked) in steps:
        return int(asked), f"step {asked}"
    raise ConfigError(
        f"{workdir} has no checkpoint {asked!r}; it has steps {steps}, or say last, {', '.join(SELECTIONS)}."
    )


def _preprocessing(config: Config) -> Preprocessing:
    data = config.data
    return Preprocessing(image_size=config.model.image_size, mean=data.mean, std=data.std, resample=data.resample)
