"""A folder of few, tiny sketches and photos in the layout of all data sets."""

from pathlib import Path

import numpy as np
from PIL import Image


def write(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def make_folder(root: Path, test: bool = True) -> Path:
    names = {
        "trainA": ["1_1.png", "1_2.png", "1_2_1.png", "x.y_10.jpg"],
        "trainB": ["1.jpg", "1_2.png", "x.y.bmp", "never_drawn.png"],
    }
    if test:
        names |= {"testA": ["7_01.png", "8_01.png"], "testB": ["7.png", "8.png", "9.png"]}
    seed = 0
    for folder, files in names.items():
        for name in files:
            seed += 1
            write(root / folder / name, seed, "L" if folder == "trainA" and name == "1_1.png" else "RGB")
    write(root / "trainA" / "1_2.png", 99, "RGBA")
    return root


def as_seen(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
