"""From one checkpoint to encoders, without the data it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from effnet_jax.config import LateConfig, ModelConfig
from effnet_jax.encoders.encoders import NO_EFFECT, Encoders, PairModule, read_model_config, read_trsm_config
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.runs.saved import STATE, evaluated_parameters, read_about, read_tree
from effnet_jax.storage.integrity import refuse_damaged


def read_checkpoint(folder: Path, *, selection: str, frozen: Path, model: Mapping[str, Any]) -> Encoders:
    """Read the encoders of a checkpoint.

    Args:
        folder: such as `run/checkpoints/304`.
        selection: how it was chosen, in words.
        frozen: where a run of stage 2 keeps its encoders.
        model: what the run says about its model; fields that it lacks are not compared.

    Raises:
        ValueError: it is damaged, of another run, or does not hold the model that it describes.
    """
    refuse_damaged(folder, f"the checkpoint {folder} is damaged; give another of the run by its step")
    about = read_about(folder)
    problems = [f"it says nothing about {part}" for part in ("model", "preprocessing") if part not in about]
    if problems:
        raise ValueError(f"{folder} cannot become encoders: {'; '.join(problems)}; was it made by effnet_jax?")
    _refuse_mixed(folder, model, about["model"])
    config = read_model_config(about["model"])
    functional = make_functional(config)
    like, like_stats = jax.eval_shape(lambda: (functional.init(jax.random.key(0)), functional.init_batch_stats()))
    stage2 = bool(about.get("trsm", {}).get("enabled"))
    if stage2:
        refuse_damaged(frozen, f"the frozen encoders in {frozen} are damaged; copy them back, or train again")
    place, inside = (frozen, ()) if stage2 else (folder / STATE, (evaluated_parameters(about), "model"))
    origin = {
        "run": str(folder.parent.parent),
        "step": int(folder.name),
        "selection": selection,
        "data": about.get("data", {}),
    }
    return Encoders(
        config,
        Preprocessing.from_dict(about["preprocessing"]),
        params=jax.device_get(read_tree(place, inside, like)),
        origin=origin,
        pair_module=_read_pair_module(folder, about, config) if stage2 else None,
        late=LateConfig(**about.get("late", {})),
        centres={domain: np.asarray(mean, np.float32) for domain, mean in about.get("centres", {}).items()},
        batch_stats=jax.device_get(read_tree(folder / STATE, ("batch_stats",), like_stats)) if like_stats else {},
    )


def _read_pair_module(folder: Path, about: Mapping[str, Any], model: ModelConfig) -> PairModule:
    try:
        config = read_trsm_config(about["trsm"])
    except TypeError as error:
        raise ValueError(f"{folder} describes a TRSM that this version does not know: {error}") from error
    init = make_functional_trsm(model, config).init
    like = jax.eval_shape(init, jax.random.key(0))
    return PairModule(config, jax.device_get(read_tree(folder / STATE, (evaluated_parameters(about), "trsm"), like)))


def _refuse_mixed(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """A checkpoint copied into the folder of another run would be believed to be that run's."""
    compared = sorted((theirs.keys() & ours.keys()) - set(NO_EFFECT))  # those may change when a run is resumed
    wrong = [name for name in compared if theirs[name] != ours[name]]
    if wrong:
        listed = "\n".join(
            f"  model.{name}: {theirs[name]!r} in config.json, {ours[name]!r} in the checkpoint" for name in wrong
        )
        raise ValueError(f"{folder} is not a checkpoint of the run it lies in:\n{listed}")
