"""What each part of our recipes brings, measured on photos held out of the training sets. No test set is looked at.

    python benchmarks/ablation.py --chairs qmul_chair_v1 --shoes qmul_shoe_v1 --photos shoe_v2_photos \
        --weights vit_tiny_patch16_224.safetensors --out runs/ablation [--only NAME ...] [--list]

Each row changes one thing of a recipe: of training on photos alone (configs/photos_only.py), of fine-tuning
(configs/chair_v1_ours.py, configs/shoe_v1_ours.py), or of how pairs are scored. What is trained already is not trained
again, so the table grows by row and a stopped run goes on. A quarter of the training photos of V1 is held out. Rows are
ranked by the mean of both MRRs; differences are from the recipe on the same sketches, with paired 95 % intervals.
"""

import argparse
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from effnet_jax import run
from effnet_jax.comparison.comparison import compare_runs
from effnet_jax.config import Config
from effnet_jax.config_reader import from_mapping
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import FREE_FIELDS, FREE_SECTIONS, without

SETS = {"chairs": "chair_v1_ours", "shoes": "shoe_v1_ours"}
FIRST = "photos_only"
TOY = {"model.image_size": 32, "model.width": 24, "model.depth": 1, "model.heads": 2, "model.embedding_size": 16,
       "model.weights": "none", "optim.warmup_steps": 0, "train.max_steps": 2, "late.ink": 0.0,
       "log.progress": False}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One thing that is changed.

    Attributes:
        changes: in fine-tuning, by the name of the field.
        before: in training on photos alone; None: that is left out, and fine-tuning starts from ImageNet weights.
        protocol: that scores.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = field(default_factory=dict)
    protocol: str = "late"


REPORTED = ("eval.batch_size", "eval.grid_rows")
RECIPE = "the recipe, at 224 pixels"
PAPER_VIEWS = {"augment.sketch_views": ("a0", "a1"), "augment.photo_views": ("a0", "a1"), "augment.mirror": 0.8,
               "augment.max_angle": 30.0, "loss.intra_sketch": 1.0, "loss.intra_photo": 1.0}  # fmt: skip
OWN_COLOURS = {"augment.jitter": (0.0, 0.0, 0.0, 0.0)}
FIRST_PEN = {"pen.edge_threshold": (0.02, 0.06), "pen.stroke_loss": (0.0, 0.25), "pen.thickness": (0.5, 1.1),
             "pen.darkness": (1.0, 1.0)}  # fmt: skip
ROWS = {
    RECIPE: Row(),
    "compared by the cosine": Row(protocol="encoder"),
    "without the late term": Row({"loss.late": 0.0}),
    "with the late term on photos alone too": Row(before={"loss.late": 1.0}),
    "a thick, black pen": Row(before=FIRST_PEN),
    "photos in their own colours": Row(OWN_COLOURS, before=OWN_COLOURS),
    "without photos alone": Row(before=None),
    "without photos alone, MSTR": Row({"model.token_recycling": True}, before=None),
    "four terms and views of the paper": Row(PAPER_VIEWS),
    "moving average": Row({"train.average": 0.97}),
    "lower layers learn less": Row({"optim.layer_decay": 0.8}),
    "another sketch as the other view": Row({"augment.other_sketch": True, "loss.intra_sketch": 1.0}),
    "real sketches drawn anew": Row({"augment.redraw": 0.5}),
    "photos that look alike in a batch": Row({"train.group": 4}),
    "centred, compared by the cosine": Row({"train.centring": True}, protocol="encoder"),
    "320 pixels": Row({"model.image_size": 320}),
}


def changed(config: Any, changes: dict[str, Any]) -> Any:
    """Set fields by their dotted names; one that does not exist is an error."""
    for name, value in changes.items():
        *sections, last = name.split(".")
        part = config
        for section in sections:
            part = part[section]
        part[last] = value
    return config


def recipe(name: str, paths: argparse.Namespace) -> Any:
    """Read a file of configs/, with ViT-Ti and its weights from disk, at the same number of pixels everywhere."""
    config = importlib.import_module(f"configs.{name}").get_config()
    common = {"log.tensorboard": False, "eval.grid_rows": 0, "model.backbone": "vit_tiny", "model.image_size": 224,
              "model.weights": str(paths.weights), "data.tfds_dir": str(paths.out / "tfds")}  # fmt: skip
    return changed(config, {**common, **(TOY if paths.toy else {})})


def named(changes: dict[str, Any] | None) -> str:
    """Give a name for a folder that says what is changed."""
    if changes is None:
        return "imagenet"
    said = (f"{name.split('.')[-1]}={value}" for name, value in sorted(changes.items()))
    return "_".join(said).replace(" ", "") or "recipe"


def learned(config: Config) -> dict[str, Any]:
    """Give what decides what a run learns; not where things lie."""
    return without(config.to_dict(), (*FREE_SECTIONS, *FREE_FIELDS, "model.weights", "init_from", *REPORTED))


def train(config: Any, folder: Path) -> None:
    """Train what is not there yet; what is there must be of the same recipe."""
    if not Run(folder).metrics_file.is_file():
        run.train(config, folder)
    elif learned(Run(folder).config) != learned(from_mapping(config)):
        sys.exit(f"{folder} was trained by another recipe; remove it, or take another --out")


def fine_tuned(row: Row, of: str, paths: argparse.Namespace) -> Path:
    """Train what is missing of a row, and give the folder of its run on one set."""
    start = None
    if row.before is not None:
        start = paths.out / FIRST / named(row.before)
        train(changed(recipe(FIRST, paths), {"data.unpaired_photos": str(paths.photos), **row.before}), start)
    folder = paths.out / of / f"{named(row.before)}+{named(row.changes)}"
    held_out = {"data.dir": str(getattr(paths, of)), "data.validation_share": 0.25, "eval.split": "validation",
                "train.eval_every_epochs": 1000.0}  # fmt: skip
    held_out |= {"data.name": "sketch_photo_folder"} if paths.toy else {}
    begun = {"init_from": str(start), "model.weights": "none"} if start else {}
    train(changed(recipe(SETS[of], paths), {**held_out, **begun, **row.changes}), folder)
    return folder if row.protocol == "encoder" else folder / f"last_{row.protocol}"


def beside(recipe: Path, row: Path) -> tuple[float, list[str], str]:
    """Give a row's MRR on one set, its cells (Acc@1, MRR, and how far it is from the recipe's), and what was asked."""
    comparison = compare_runs([f"recipe={recipe}", f"row={row}"], ks=(1,))
    values, asked = comparison.rows[1].values, comparison.asked
    mrr, less = 100 * float(values("mrr").mean()), comparison.differences[0, 1, "mrr"]
    more = [0.0 - 100 * x for x in (less.value, less.high, less.low)]
    difference = "" if row == recipe else f"{more[0]:+.1f} [{more[1]:.1f}, {more[2]:.1f}]"
    cells = [f"{100 * values('acc@1').mean():.1f}", f"{mrr:.1f}", difference]
    return mrr, cells, f"{len(asked.sketch_ids)} sketches, {asked.gallery} photos"


def table(evaluated: dict[str, dict[str, Path]]) -> str:
    """Rank the rows by the mean of their MRRs, each beside the recipe."""
    lines, asked = [], []
    for name, folders in evaluated.items():
        found = [beside(evaluated[RECIPE][of], folder) for of, folder in folders.items()]
        asked = [of for _, _, of in found]
        cells = " | ".join(cell for _, cells, _ in found for cell in cells)
        lines.append((sum(mrr for mrr, _, _ in found), f"| {name} | {cells} |"))
    head = " | ".join(f"{of} ({what}): Acc@1 | MRR | minus the recipe's" for of, what in zip(SETS, asked, strict=True))
    rows = [line for _, line in sorted(lines, reverse=True)]
    return "\n".join([f"| | {head} |", "|" + " --- |" * (1 + 3 * len(SETS)), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in (*SETS, "photos", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required="--list" not in sys.argv)
    parser.add_argument("--toy", action="store_true", help="a tiny model and two steps, which show that it works")
    parser.add_argument(
        "--only", nargs="*", choices=list(ROWS), default=list(ROWS), help="rows; the recipe is always one"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    paths = parser.parse_args()
    if paths.list:
        print("\n".join(ROWS))
        return
    evaluated: dict[str, dict[str, Path]] = {}
    for name in dict.fromkeys((RECIPE, *paths.only)):
        evaluated[name] = {of: fine_tuned(ROWS[name], of, paths) for of in SETS}
        print(table(evaluated), flush=True)
    (paths.out / "table.md").write_text(table(evaluated) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
