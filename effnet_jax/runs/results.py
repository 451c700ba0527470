"""What an evaluation left in the folder of a run, read back: ranks, embeddings and figures."""

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from effnet_jax.storage.files import DAMAGED_ZIP
from effnet_jax.retrieval.ranking import Ranking

PREFERRED = ("best_on_validation", "last")
ARRAYS = ("sketch_ids", "photo_ids", "sketch_photo_ids", "tags", "sketch_embeddings", "photo_embeddings")


@dataclass(frozen=True)
class Results:
    """One evaluation of a run.

    Attributes:
        run: folder of the run.
        name: of its subfolder, such as "last".
        default: the one that is shown where none is asked for.
        figures: its entry in metrics.json.
        sketch_ids: in the order of the ranking.
        photo_ids: the gallery.
        photo_index: row of each sketch's photo.
        tags: of each sketch.
        ranking: of every sketch.
        sketches: embeddings of the sketches.
        photos: embeddings of the gallery.
    """

    run: Path
    name: str
    default: bool
    figures: Mapping[str, Any]
    sketch_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]
    photo_index: Int32[np.ndarray, " s"]
    tags: tuple[str, ...]
    ranking: Ranking
    sketches: Float32[np.ndarray, "s z"]
    photos: Float32[np.ndarray, "g z"]

    @property
    def step(self) -> int:
        """Training step of the checkpoint."""
        return int(self.figures["checkpoint_step"])

    @property
    def caption(self) -> str:
        """Counts, protocol, selection rule and step, in words."""
        return self._described if self._by_encoder else f"{self._described}; protocol {self.figures['protocol']}"

    @property
    def encoder_caption(self) -> str:
        """The same for what shows the encoder whatever protocol ranked: its embeddings and its attention."""
        return self._described if self._by_encoder else f"{self._described}; encoder embeddings"

    @property
    def _by_encoder(self) -> bool:
        return self.figures.get("protocol", "encoder") == "encoder"

    @property
    def _described(self) -> str:
        f = self.figures
        return (
            f"{f['dataset']} / {f['split']}: {f['queries']} sketches of {f['query_photos']} photos, gallery of "
            f"{f['gallery']} photos; checkpoint: {f['selection']}, step {self.step}"
        )


def read_results(run: str | os.PathLike[str], name: str | None = None) -> Results:
    """Read one evaluation of a run.

    Args:
        run: folder of the run.
        name: its subfolder; None takes best_on_validation where there is one, else last.

    Raises:
        ValueError: no run, no such evaluation, or files that do not belong together.
    """
    run = Path(run).expanduser().absolute()
    if not (run / "metrics.json").is_file():
        raise ValueError(
            f"{run} has no metrics.json: it is no evaluated run. Train it, or run main.py --mode=evaluate."
        )
    metrics = read_json(run / "metrics.json", f"{run} is no evaluated run")
    try:
        present = {folder_of(f): f for f in metrics["results"] if (run / folder_of(f) / "ranks.csv").is_file()}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{run}/metrics.json holds no results ({error}); evaluate the run again.") from error
    default = next((n for n in PREFERRED if n in present), PREFERRED[-1])
    name = default if name is None else name
    if name not in present:
        raise ValueError(f"{run} has no evaluation {name!r}; it has {', '.join(sorted(present)) or 'none'}.")
    figures = present[name]
    embeddings = run / name / "embeddings.npz"
    if not embeddings.exists():  # other protocols than the encoder's rank the same embeddings
        embeddings = run / name.removesuffix(f"_{figures.get('protocol')}") / "embeddings.npz"
    arrays = _read_arrays(embeddings)
    sketch_ids, photo_ids = (tuple(arrays[key].tolist()) for key in ("sketch_ids", "photo_ids"))
    rows = {photo: row for row, photo in enumerate(photo_ids)}
    unknown = set(arrays["sketch_photo_ids"].tolist()) - rows.keys()
    if unknown or len(sketch_ids) != figures["queries"] or len(photo_ids) != figures["gallery"]:
        raise ValueError(f"{embeddings} and metrics.json are of different evaluations; evaluate the run again.")
    return Results(
        run=run,
        name=name,
        default=name == default,
        figures=figures,
        sketch_ids=sketch_ids,
        photo_ids=photo_ids,
        photo_index=np.array([rows[p] for p in arrays["sketch_photo_ids"].tolist()], np.int32),
        tags=tuple(arrays["tags"].tolist()),
        ranking=read_ranks(run / name / "ranks.csv", sketch_ids, rows),
        sketches=arrays["sketch_embeddings"],
        photos=arrays["photo_embeddings"],
    )


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        otherwise: what it means where it cannot be read.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{otherwise}: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return content


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in ARRAYS}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is gone; evaluate the run again.") from error
    except (OSError, ValueError, KeyError, TypeError, *DAMAGED_ZIP) as error:
        raise ValueError(f"{path} is damaged ({error}); evaluate the run again.") from error


def folder_of(figures: Mapping[str, Any]) -> str:
    """Name the subfolder that an entry of metrics.json belongs to."""
    selection = figures["selection"]
    kinds = {"best on validation": "best_on_validation", "best on test": "best_on_test"}
    folder = next((folder for words, folder in kinds.items() if selection.startswith(words)), "last")
    protocol = figures.get("protocol", "encoder")
    return folder if protocol == "encoder" else f"{folder}_{protocol}"


def read_ranks(path: Path, sketch_ids: tuple[str, ...], rows: Mapping[str, int]) -> Ranking:
    """Read ranks.csv back.

    Args:
        path: of the file.
        sketch_ids: that it must be about, in this order.
        rows: row of each photo id in the gallery.

    Raises:
        ValueError: it is damaged, or about other sketches or photos.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    try:
        if tuple(line["sketch_id"] for line in lines) != sketch_ids:
            raise ValueError("it is about other sketches than embeddings.npz")
        places = sum(head.startswith("photo_") for head in lines[0])
        listed = range(1, places + 1)
        unknown = sorted({line[f"photo_{k}"] for line in lines for k in listed} - rows.keys())
        if unknown:
            raise ValueError(f"it lists photos that are not in the gallery: {', '.join(unknown[:20])}")
        return Ranking(
            better=np.array([int(line["better"]) for line in lines], np.int32),
            tied=np.array([int(line["tied"]) for line in lines], np.int32),
            candidates=np.full(len(lines), len(rows), np.int32),
            top_index=np.array([[rows[line[f"photo_{k}"]] for k in listed] for line in lines], np.int32),
            top_score=np.array([[float(line[f"score_{k}"]) for k in listed] for line in lines], np.float32),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); evaluate the run again.") from error
