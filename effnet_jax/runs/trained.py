"""From the folder of a run to its trained encoders, without the data it was trained on."""

import json
import os
from pathlib import Path
from typing import Any

import jax

from effnet_jax.config import Config, ModelConfig, TrsmConfig
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.encoders.encoders import NO_EFFECT, Encoders, PairModule, read_model_config
from effnet_jax.storage.integrity import refuse_damaged
from effnet_jax.runs.saved import ON_TEST, ON_VALIDATION, read_about, read_metrics, read_tree
from effnet_jax.runs.workdir import CHECKPOINTS

CHOICES = {"best": ON_VALIDATION, "best_on_test": ON_TEST, "last": None}


def trained_encoders(run: str | os.PathLike[str], choose: str = "best") -> Encoders:
    """Load the encoders of a trained run.

    Args:
        run: folder of a run, or one checkpoint in it such as `run/checkpoints/304`.
        choose: "best" takes the checkpoint that is best on held-out training photos, or the last one where none were
            held out; "last" the last one; "best_on_test" the paper's optimistic choice, where the run kept it; or a
            step.

    Returns:
        Both encoders with their preprocessing and origin, and TRSM where the run is one of stage 2.

    Raises:
        ValueError: no such run or checkpoint, one that is damaged, or does not hold the model that it describes.
    """
    folder, selection = choose_checkpoint(Path(run).expanduser().absolute(), choose)
    refuse_damaged(folder, f"the checkpoint {folder} is damaged; give another of the run by its step")
    about = read_about(folder)
    problems = [f"it says nothing about {part}" for part in ("model", "preprocessing") if part not in about]
    if problems:
        raise ValueError(f"{folder} cannot become encoders: {'; '.join(problems)}; was it made by effnet_jax?")
    _refuse_mixed(folder, about)
    config = read_model_config(about["model"])
    model = make_functional(config)
    like, like_stats = jax.eval_shape(lambda: (model.init(jax.random.key(0)), model.init_batch_stats()))
    origin = {
        "run": str(folder.parent.parent),
        "step": int(folder.name),
        "selection": selection,
        "data": about.get("data", {}),
    }
    preprocessing = Preprocessing.from_dict(about["preprocessing"])
    return Encoders(
        config,
        preprocessing,
        params=jax.device_get(_read_params(folder, about, like)),
        origin=origin,
        pair_module=_read_pair_module(folder, about, config),
        batch_stats=jax.device_get(read_tree(folder / "state", ("batch_stats",), like_stats)) if like_stats else {},
    )


def _read_params(folder: Path, about: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """A run of stage 2 keeps its frozen encoders beside its checkpoints."""
    if about.get("trsm", {}).get("enabled"):
        encoders = folder.parent.parent / "encoders"
        refuse_damaged(encoders, f"the frozen encoders in {encoders} are damaged; copy them back, or train again")
        return read_tree(encoders, (), like)
    return read_tree(folder / "state", ("params", "model"), like)


def _read_pair_module(folder: Path, about: dict[str, Any], model: ModelConfig) -> PairModule | None:
    if not about.get("trsm", {}).get("enabled"):
        return None
    try:
        config = TrsmConfig(**about["trsm"])
    except TypeError as error:
        raise ValueError(f"{folder} describes a TRSM that this version does not know: {error}") from error
    init = make_functional_trsm(model, config).init
    like = jax.eval_shape(init, jax.random.key(0))
    return PairModule(config, jax.device_get(read_tree(folder / "state", ("params", "trsm"), like)))


def choose_checkpoint(run: Path, choose: str) -> tuple[Path, str]:
    """Choose a checkpoint of a run, and say in words how; `choose` as in `trained_encoders`.

    Raises:
        ValueError: no such folder, no checkpoint in it, or not that one.
    """
    if not run.exists():
        raise ValueError(f"there is no run in {run}; give the folder that was --workdir when it was trained.")
    if not run.is_dir():
        raise ValueError(f"{run} is a file; give the folder of a run (its --workdir), which holds checkpoints/.")
    if run.name.isdigit() and (run / "state").is_dir():
        return run, "given by its step"
    steps = {int(p.name): p for p in (run / CHECKPOINTS).glob("[0-9]*") if p.name.isdigit()}
    if not steps:
        holds = ", ".join(sorted(p.name for p in run.iterdir())[:8]) or "nothing"
        raise ValueError(f"{run} has no checkpoints/ of a run, but: {holds}. Train it first, or check the path.")
    if choose.isdigit() and int(choose) in steps:
        return steps[int(choose)], "given by its step"
    if choose not in CHOICES:
        known = f"{', '.join(CHOICES)}, or one of the steps {', '.join(map(str, sorted(steps)))}"
        raise ValueError(f"{run} has no checkpoint {choose!r}; give {known}.")
    metric = CHOICES[choose]
    scored = [(value[metric], step) for step, p in steps.items() if metric in (value := read_metrics(p))]
    if scored:
        words = "best on validation (MRR)" if choose == "best" else "best on test (optimistic)"
        return steps[max(scored)[1]], words
    if choose == "best_on_test":
        raise ValueError(f"{run} measured no checkpoint on the test set; train it with --config.eval.best_on_test.")
    return steps[max(steps)], "last"


def _refuse_mixed(folder: Path, about: dict[str, Any]) -> None:
    """A checkpoint copied into the folder of another run would be believed to be that run's."""
    path = folder.parent.parent / "config.json"
    if not path.exists():
        return
    theirs, ours = json.loads(path.read_text())["model"], about["model"]
    compared = sorted((theirs.keys() & ours.keys()) - set(NO_EFFECT))  # those may change when a run is resumed
    wrong = [name for name in compared if theirs[name] != ours[name]]
    if wrong:
        listed = "\n".join(
            f"  model.{name}: {theirs[name]!r} in config.json, {ours[name]!r} in the checkpoint" for name in wrong
        )
        raise ValueError(f"{folder} is not a checkpoint of the run it lies in:\n{listed}")
