"""Cut the recorded golden files down to what fits a repository. usage: make_goldens.py RECORDED_FOLDER [OUTPUT_FOLDER]

RECORDED_FOLDER holds the full recordings of the PyTorch implementation (torchvision 0.28 on Pillow 13). Images, which
are recorded as float32 multiples of 1/255, are stored as uint8 in a file of their own; ImageNet heads, which no model
uses, are left out. transforms_a1_0.npz (1.6 MB: two images, six angles, with and without mirror) is reduced to two of
the angles, each once with and once without mirror. The full files can be checked too:
EFFNET_GOLDENS=RECORDED_FOLDER pytest tests/parity.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

COPIED = (
    "base_adam_lr0.001", "base_adam_lr6e-06", "cross_loss", "encoder_vit", "get_acc", "get_acc_paired_trsm", "mstr",
    "mstr_contrast_matrix", "ranking", "recipe_mstr768", "recipe_objective_vit_tiny", "recipe_trsm768",
    "recipe_vit_base_patch16_224", "recipe_vit_tiny_patch16_224", "transforms_a1_1", "transforms_resize", "trsm",
)  # fmt: skip
WITH_IMAGES = ("arnet_encoder", "base_objective", "vit_plus")
ANGLES = ("angle0_flip0", "angle4_flip1")  # -30 degrees, and 12.345678 degrees mirrored


def reduce_a1(recorded: Path, output: Path) -> None:
    with np.load(recorded / "transforms_a1_0.npz", allow_pickle=False) as full:
        kept = {key: full[key] for key in full.files if key == "meta" or key.rpartition("/")[2] in ANGLES}
        kept["f64/angles"] = full["f64/angles"]
    np.savez_compressed(output / "transforms_a1_0_reduced.npz", allow_pickle=False, **kept)


def split_images(name: str, recorded: Path, output: Path) -> None:
    with np.load(recorded / f"{name}.npz", allow_pickle=False) as full:
        images = {key: full[key] for key in full.files if key.startswith("in/")}
        rest = {key: full[key] for key in full.files if key not in images and "encoder.head." not in key}
        meta = full["meta"]
    whole = {key: np.round(value * 255).astype(np.uint8) for key, value in images.items()}
    for key, value in whole.items():
        if not np.array_equal(value.astype(np.float32) / np.float32(255), images[key]):
            raise ValueError(f"{name}: {key} is not made of multiples of 1/255")
    np.savez_compressed(output / f"{name}.npz", allow_pickle=False, **rest)
    np.savez_compressed(output / f"{name}_inputs.npz", allow_pickle=False, meta=meta, **whole)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "goldens"
    reduce_a1(source, folder)
    for name in COPIED:
        shutil.copyfile(source / f"{name}.npz", folder / f"{name}.npz")
    for name in WITH_IMAGES:
        split_images(name, source, folder)
    shutil.copyfile(source / "listing_cases.json", folder / "listing_cases.json")
