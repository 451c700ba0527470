"""How long does `effnet-jax check-data` take, and which copies of a photo does it find?

    python benchmarks/doctor.py speed [--folder FOLDER]          a folder of the shape of QMUL-Shoe-V2, 8648 files
    python benchmarks/doctor.py copies --data FOLDER             copies of the photos of a real folder

speed draws 2000 photos (320 x 320, PNG) and 6648 sketches (512 x 512, PNG), unless the folder is there already, and
examines them. copies changes 60 photos in several ways, stores them as JPEG of quality 50, and prints for how many the
doctor finds the original, and how alike the most alike pair of different photos is.
"""

import argparse
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from effnet_jax.doctor import examine, list_folder
from effnet_jax.doctor.duplicates import ALIKE, alike_pairs, edge_directions
from effnet_jax.doctor.listing import PHOTO
from effnet_jax.doctor.pictures import _views, look_at
from effnet_jax.runtime.progress import in_threads, track

SHAPE = {"train": (5982, 1800), "test": (666, 200)}


def shoe_like(root: Path) -> None:
    """Write a folder with as many files as QMUL-Shoe-V2 has."""
    jobs, first = [], 0
    for split, (sketches, photos) in SHAPE.items():
        for folder in ("A", "B"):
            (root / f"{split}{folder}").mkdir(parents=True)
        jobs += [(root / f"{split}B" / f"{first + k}.png", _photo, first + k) for k in range(photos)]
        for k in range(sketches):
            name = f"{first + k % photos}_{k // photos + 1}.png"
            jobs.append((root / f"{split}A" / name, _sketch, 10 * first + k))
        first += photos
    done = in_threads(lambda job: job[1](job[2]).save(job[0], compress_level=3), jobs)
    for _ in track(done, total=len(jobs), description="drawing"):
        pass


def _photo(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (320, 320), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        corners = [tuple(p) for p in random.integers(30, 290, (4, 2)).tolist()]
        draw.polygon(corners, fill=tuple(random.integers(0, 230, 3).tolist()))
    pixels = np.asarray(image).astype(np.int16)
    grain = random.integers(-6, 7, pixels.shape[:2])[..., None] * (pixels < 250)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _sketch(seed: int) -> Image.Image:
    random = np.random.default_rng([1, seed])
    image = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        draw.line(random.integers(40, 470, 8).tolist(), fill="black", width=2)
    return image


def speed(folder: Path) -> None:
    """Draw the folder where it is not there, examine it, and print the time."""
    if not (folder / "testB").is_dir():
        shoe_like(folder)
    start = time.perf_counter()
    report = examine(list_folder(folder)).report
    seconds = time.perf_counter() - start
    print(f"{report.files} files: {seconds:.1f} s on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{len(report.faults)} faults, {len(report.notes)} notes")


def _shifted(share: float):
    def shift(image: Image.Image) -> Image.Image:
        moved = Image.new("RGB", image.size, "white")
        moved.paste(image, (int(share * image.width), int(share * image.height)))
        return moved

    return shift


def _cut(share: float):
    return lambda image: ImageOps.crop(image, int(share * min(image.size)))


CHANGES = {
    "as it is": lambda image: image,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "mirrored": ImageOps.mirror,
    "darker (0.7)": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter (1.3)": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "without colour": lambda image: image.convert("L").convert("RGB"),
    "5 % wider margin": lambda image: ImageOps.expand(image, image.width // 20, "white"),
    "2 % cut off": _cut(0.02),
    "4 % cut off": _cut(0.04),
    "moved by 2 %": _shifted(0.02),
    "moved by 4 %": _shifted(0.04),
}


def copies(data: Path) -> None:
    """Print how many changed copies are found, and how alike different photos are."""
    looks = [look_at(file) for file in list_folder(data).files if file.role == PHOTO]
    views = np.stack([look.views for look in looks if look.views is not None])
    for view, what in enumerate(("whole picture", "object")):
        cosines = edge_directions(views[:, view]) @ edge_directions(views[:, view]).T
        pairs = np.sort(cosines[np.triu_indices(len(views), 1)])[::-1]
        print(f"{what}: the most alike pairs {np.round(pairs[:4], 3)} (reported from {ALIKE})")
    chosen = np.random.default_rng(0).choice(len(looks), min(60, len(looks)), replace=False)
    for name, change in CHANGES.items():
        found = 0
        for k in chosen:
            stream = io.BytesIO()
            with Image.open(io.BytesIO(looks[k].file.read())) as image:
                change(image.convert("RGB")).save(stream, format="JPEG", quality=50)
            copy = _views(Image.open(stream).convert("RGB"))
            found += bool(alike_pairs(np.stack([views[k], copy])))
        print(f"{name:18}{found:4} of {len(chosen)}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "copies"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    if args.what == "copies":
        copies(args.data)
    elif args.folder:
        speed(args.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            speed(Path(folder) / "shoes")


if __name__ == "__main__":
    main()
