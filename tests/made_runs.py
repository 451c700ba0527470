"""Folders of evaluated runs, written by the functions that write real ones."""

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from effnet_jax.config import Config
from effnet_jax.retrieval.evaluation import Evaluation
from effnet_jax.retrieval.metrics import summarise
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.runs.embeddings import evaluate_embeddings
from effnet_jax.runs.folder import Run
from effnet_jax.runs.results import write_metrics, write_ranks

PHOTOS, SKETCHES = 30, 70
PHOTO_IDS = [f"p{j:02d}" for j in range(PHOTOS)]


def truth(sketches: int = SKETCHES) -> np.ndarray:
    further = np.random.default_rng(0).integers(0, PHOTOS, SKETCHES - PHOTOS)
    return np.sort(np.concatenate([np.arange(PHOTOS), further]))[:sketches]


def embeddings(noise: float, seed: int, sketches: int = SKETCHES, photos: int = PHOTOS):
    index = truth(sketches)
    gallery = np.random.default_rng(1).standard_normal((photos, 12)).astype(np.float32)
    shared = np.random.default_rng(2).standard_normal((sketches, 12))
    own = np.random.default_rng([3, seed]).standard_normal((sketches, 12))
    return (gallery[index] + 0.8 * shared + noise * own).astype(np.float32), gallery, index


def sketch_ids(index) -> list[str]:
    return [f"{PHOTO_IDS[j]}_{i:03d}" for i, j in enumerate(index)]


def write_run(
    path: Path,
    *,
    noise: float = 0.1,
    seed: int = 0,
    learning_rate: float = 1e-3,
    sha256: str | None = "ab" * 32,
    dataset: str = "made",
    sketches: int = SKETCHES,
    photos: int = PHOTOS,
    best: bool = False,
) -> Path:
    vectors, gallery, index = embeddings(noise, seed, sketches, photos)
    ranking = rank_gallery(vectors, gallery, index)
    summary = summarise(ranking, index)
    selections = {"last": "last"} | ({"best_on_validation": "best on validation (MRR, 3 photos)"} if best else {})
    evaluations = [
        Evaluation(summary, dataset, "test", sha256, 100, words, seed, chosen_as=(rule,), folder=rule)
        for rule, words in selections.items()
    ]
    write_metrics(path / "metrics.json", evaluations)
    for rule in selections:
        write_ranks(path / rule / "ranks.csv", ranking, sketch_ids(index), PHOTO_IDS[:photos], index)
    config = Config().to_dict()
    config["train"]["seed"] = seed
    config["optim"]["learning_rate"] = learning_rate
    config["data"]["cache_dir"] = f"/cache/{seed}"
    (path / "config.json").write_text(json.dumps(config))
    split = {"sha256": sha256, "sketches": sketches, "photos": photos, "photo_ids": PHOTO_IDS[:photos]}
    (path / "split.json").write_text(json.dumps({"test": split}))
    return path


def write_foreign(path: Path, noise: float = 0.4) -> Path:
    """Embeddings of another system, evaluated by themselves."""
    vectors, gallery, index = embeddings(noise, 99)
    path.mkdir(parents=True)
    np.savez(
        path / "theirs.npz",
        sketch_embeddings=vectors,
        photo_embeddings=gallery,
        sketch_ids=np.array(sketch_ids(index)),
        photo_ids=np.array(PHOTO_IDS),
        sketch_photo_ids=np.array([PHOTO_IDS[j] for j in index]),
    )
    evaluate_embeddings(path / "theirs.npz", out=path)
    return path


def newest_state(workdir: Path) -> tuple[Path, list[np.ndarray]]:
    """The newest checkpoint of a run, and all arrays of its state."""
    folder = Run(workdir).checkpoint("last").folder
    with ocp.StandardCheckpointer() as checkpointer:
        return folder, jax.tree.leaves(checkpointer.restore(folder / "state"))
