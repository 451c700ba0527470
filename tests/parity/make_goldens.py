"""Cut a recorded golden file down to what fits a repository. usage: make_goldens.py RECORDED_FOLDER [OUTPUT_FOLDER]

RECORDED_FOLDER holds the full recordings of the PyTorch implementation (torchvision 0.28 on Pillow 13).
transforms_a1_0.npz (1.6 MB: two images, six angles, with and without mirror) is reduced to two of the angles, each once
with and once without mirror. The full files can be checked too: EFFNET_GOLDENS=RECORDED_FOLDER pytest tests/parity.
"""

import sys
from pathlib import Path

import numpy as np

KEPT = ("angle0_flip0", "angle4_flip1")  # -30 degrees, and 12.345678 degrees mirrored


def reduce_a1(recorded: Path, output: Path) -> None:
    with np.load(recorded / "transforms_a1_0.npz", allow_pickle=False) as full:
        kept = {key: full[key] for key in full.files if key == "meta" or key.rpartition("/")[2] in KEPT}
        kept["f64/angles"] = full["f64/angles"]
    np.savez_compressed(output / "transforms_a1_0_reduced.npz", allow_pickle=False, **kept)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent / "goldens"
    reduce_a1(Path(sys.argv[1]), folder)
