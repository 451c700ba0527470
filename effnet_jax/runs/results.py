"""What an evaluation leaves behind, written and read back: metrics.json, ranks.csv and embeddings.npz."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, Num

from effnet_jax.retrieval.evaluation import PROTOCOLS, Evaluation
from effnet_jax.retrieval.intervals import METHOD
from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.choice import LAST, ON_TEST, ON_VALIDATION
from effnet_jax.storage.files import DAMAGED_ZIP, replacing

ARRAYS = {
    "sketch_embeddings": "(s, z) numbers, one row per sketch",
    "photo_embeddings": "(g, z) numbers, one row per photo of the gallery",
    "sketch_ids": "(s,) text, all different",
    "photo_ids": "(g,) text, all different",
    "sketch_photo_ids": "(s,) text, the true photo of each sketch",
}


def write_metrics(path: str | os.PathLike[str], evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Write metrics.json, whole or not at all, and return what was written. The first evaluation is the headline."""
    if not evaluations:
        raise ValueError("There is no evaluation to write.")
    content = {
        "protocols": {name: PROTOCOLS[name] for name in dict.fromkeys(e.protocol for e in evaluations)},
        "units": "accuracies and mrr from 0 to 1, ranks from 1",
        "intervals": f"95 %: {METHOD}",
        "results": [evaluation.to_dict() for evaluation in evaluations],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return content


def read_metrics(path: Path) -> dict[str, Any]:
    """Read metrics.json; results from before `chosen_as` and `folder` were written get them from their sentence.

    Raises:
        ValueError: it cannot be read, is damaged, or of another program.
    """
    content = read_json(path)
    try:
        return {**content, "results": [_with_fields(result) for result in content["results"]]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no results ({error}); evaluate the run again.") from error


def _with_fields(result: Mapping[str, Any]) -> dict[str, Any]:
    if "chosen_as" in result:
        return dict(result)
    begins = {"last": LAST, "latest": LAST, "best on validation": ON_VALIDATION, "best on test": ON_TEST}
    parts = str(result["selection"]).split(", also ")
    chosen = [rule for part in parts for words, rule in begins.items() if part.startswith(words)]
    protocol = result.get("protocol", "encoder")
    folder = evaluation_name(chosen[0], protocol) if chosen else ""
    return {**result, "protocol": protocol, "chosen_as": list(dict.fromkeys(chosen)), "folder": folder}


def evaluation_name(rule: str, protocol: str) -> str:
    """Name the subfolder of an evaluation: the rule that chose its checkpoint, and the protocol but the encoder's."""
    return rule if protocol == "encoder" else f"{rule}_{protocol}"


def by_name(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give the results of a report under all their names, one for each rule that came to the checkpoint.

    Its files lie in its `folder`. One of another of these names is left from an older report.
    """
    named = {result["folder"]: result for result in results}
    for result in results:
        named |= {evaluation_name(rule, result["protocol"]): result for rule in result["chosen_as"]}
    return named


class Ranks(NamedTuple):
    """What ranks.csv says: the queries in their order, with their true photos and the first photos found."""

    sketch_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]  # true photo of each query
    better: Int32[np.ndarray, " s"]
    tied: Int32[np.ndarray, " s"]
    found: list[list[str]]  # ids of the first photos, best first
    scores: Float32[np.ndarray, "s k"]


def write_ranks(
    path: str | os.PathLike[str],
    ranking: Ranking,
    sketch_ids: Sequence[str],
    photo_ids: Sequence[str],
    photo_index: Int[np.ndarray, " s"],
) -> None:
    """Write ranks.csv, whole or not at all: one line per query with its truth, its rank and the best photos.

    `rank` is the expected one, 1 + better + tied / 2.
    """
    if len(sketch_ids) != len(ranking.better) or len(photo_index) != len(ranking.better):
        raise ValueError(
            f"{len(ranking.better)} ranks, but {len(sketch_ids)} sketch ids and {len(photo_index)} true photos."
        )
    places = range(1, ranking.top_index.shape[1] + 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [name for place in places for name in (f"photo_{place}", f"score_{place}")]
    writer.writerow(["sketch_id", "true_photo_id", "rank", "better", "tied", *heads])
    for i, rank in enumerate(ranking.rank):
        listed = zip(ranking.top_index[i], ranking.top_score[i], strict=True)
        firsts = [value for index, score in listed for value in (photo_ids[index], f"{score:.6f}")]
        truth = photo_ids[photo_index[i]]
        writer.writerow([sketch_ids[i], truth, f"{rank:g}", ranking.better[i], ranking.tied[i], *firsts])
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def read_ranks(path: Path) -> Ranks:
    """Read ranks.csv back.

    Raises:
        ValueError: it is not there, damaged, without queries, or has one more than once.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        listed = range(1, 1 + sum(head.startswith("photo_") for head in (lines or [{}])[0]))
        ranks = Ranks(
            sketch_ids=tuple(line["sketch_id"] for line in lines),
            photo_ids=tuple(line["true_photo_id"] for line in lines),
            better=np.array([int(line["better"]) for line in lines], np.int32),
            tied=np.array([int(line["tied"]) for line in lines], np.int32),
            found=[[line[f"photo_{k}"] for k in listed] for line in lines],
            scores=np.array([[float(line[f"score_{k}"]) for k in listed] for line in lines], np.float32),
        )
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); evaluate the run again.") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} is damaged ({error}); evaluate the run again.") from error
    if not lines:
        raise ValueError(f"{path} is damaged (it holds no query); evaluate the run again.")
    twice = _twice(ranks.sketch_ids)
    if twice:
        raise ValueError(f"{path} is damaged (it has queries more than once: {', '.join(twice[:100])}).")
    return ranks


def write_embeddings(
    path: Path,
    sketches: Float32[np.ndarray, "s z"],
    photos: Float32[np.ndarray, "g z"],
    *,
    sketch_ids: Sequence[str],
    photo_ids: Sequence[str],
    photo_index: Int[np.ndarray, " s"],
    tags: Sequence[str],
) -> None:
    """Save the embeddings of a split in the form that `read_embeddings` reads, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            sketch_embeddings=sketches,
            photo_embeddings=photos,
            sketch_ids=np.array(sketch_ids, str),
            photo_ids=np.array(photo_ids, str),
            sketch_photo_ids=np.array([photo_ids[j] for j in photo_index], str),
            tags=np.array(tags, str),
        )


class SavedEmbeddings(NamedTuple):
    """Embeddings of sketches and of a gallery, whoever made them."""

    sketches: Num[np.ndarray, "s z"]
    photos: Num[np.ndarray, "g z"]
    sketch_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]
    photo_index: Int32[np.ndarray, " s"]  # row of each sketch's photo
    tags: tuple[str, ...] | None  # of each sketch


def read_embeddings(path: Path) -> SavedEmbeddings:
    """Read a .npz file of embeddings; nothing in it is unpickled.

    Raises:
        ValueError: arrays that are missing or do not fit together, unknown or repeated ids: all problems at once.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not there. It must be a .npz file with {_wanted()}.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*ARRAYS, "tags") if name in file.files}
    except (OSError, ValueError, AttributeError, TypeError, *DAMAGED_ZIP) as error:
        raise ValueError(
            f"{path} is not a .npz file of plain arrays ({error}). Save ids as text, np.array(ids, str), not objects."
        ) from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. It must hold {_wanted()}.")
    if problems := _shape_problems(arrays) or _id_problems(arrays):
        raise ValueError(f"{path} cannot be ranked:\n" + "\n".join(f"  {problem}" for problem in problems))
    sketch_ids, photo_ids = (tuple(map(str, arrays[name])) for name in ("sketch_ids", "photo_ids"))
    rows = {photo: row for row, photo in enumerate(photo_ids)}
    return SavedEmbeddings(
        arrays["sketch_embeddings"],
        arrays["photo_embeddings"],
        sketch_ids,
        photo_ids,
        np.array([rows[str(photo)] for photo in arrays["sketch_photo_ids"]], np.int32),
        tuple(map(str, arrays["tags"])) if "tags" in arrays else None,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return content


def _wanted() -> str:
    return "; ".join(f"{name}: {what}" for name, what in ARRAYS.items()) + "; optional tags: (s,) text"


def _shape_problems(arrays: Mapping[str, np.ndarray]) -> list[str]:
    problems = []
    for name in ("sketch_embeddings", "photo_embeddings"):
        x = arrays[name]
        if x.ndim != 2 or x.dtype.kind not in "fiu" or x.dtype.itemsize > 8:
            problems.append(f"{name} must be {ARRAYS[name]}; it is {x.dtype} {x.shape}")
    s, g = len(np.atleast_1d(arrays["sketch_embeddings"])), len(np.atleast_1d(arrays["photo_embeddings"]))
    for name, length in (("sketch_ids", s), ("sketch_photo_ids", s), ("tags", s), ("photo_ids", g)):
        if name in arrays and arrays[name].shape != (length,):
            problems.append(f"{name} must have shape ({length},), like the embeddings; it has {arrays[name].shape}")
    return problems


def _id_problems(arrays: Mapping[str, np.ndarray]) -> list[str]:
    problems = []
    for name in ("sketch_ids", "photo_ids"):
        if twice := _twice(arrays[name].tolist()):
            problems.append(f"{name} more than once: {', '.join(twice)}")
    unknown = sorted({str(x) for x in arrays["sketch_photo_ids"]} - {str(x) for x in arrays["photo_ids"]})
    if unknown:
        problems.append(f"sketch_photo_ids that are not in photo_ids: {', '.join(unknown)}")
    return problems


def _twice(names: Sequence[str]) -> list[str]:
    return sorted(str(name) for name, count in Counter(names).items() if count > 1)
