"""Pairs a second of the input pipeline, beside a loader that decodes each item with PIL; side by side in one run.

    python benchmarks/input_pipeline.py [--data FOLDER] [--pairs 320] [--rounds 5]

Both turn the files of a trainA/trainB folder into the same four float32 views of each pair (A0 and A1 of sketch and
photo). The plain loader does what a usual torch Dataset does: for each sketch open two files, resize, rotate, mirror,
crop, scale, stack. It runs in one thread, in a thread for each core (Pillow works outside the interpreter lock, and
threads need not send batches to each other), and through torch's DataLoader where torch is installed. Ours decodes once
(that time is printed apart) and augments on the device; "drawing" makes a new pseudo sketch for each pair. Without
--data, 256-pixel pictures are drawn into a temporary folder.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import importlib
import importlib.util
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from effnet_jax.data.pipeline import PairImages

BATCH, SIZE, SOURCE = 16, 224, 268
Files = list[tuple[Path, Path]]


def plain_item(files: tuple[Path, Path], seed: int) -> list[np.ndarray]:
    """Decode a sketch and its photo and make their views A0 and A1, channels first, as torch wants them."""
    rng = np.random.default_rng(seed)
    views = []
    for file in files:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        plain = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        rotated = image.resize((SOURCE, SOURCE), Image.Resampling.BILINEAR).rotate(rng.uniform(-30, 30))
        if rng.random() < 0.8:
            rotated = rotated.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        edge = (SOURCE - SIZE) // 2
        for view in (plain, rotated.crop((edge, edge, edge + SIZE, edge + SIZE))):
            views.append(np.asarray(view).transpose(2, 0, 1).astype(np.float32) / 255)
    return views


def plain_batch(work: tuple[Files, int]) -> list[np.ndarray]:
    """Stack items into a batch."""
    items = [plain_item(files, work[1] + i) for i, files in enumerate(work[0])]
    return [np.stack(views) for views in zip(*items, strict=True)]


def plain_loader(pairs: Files, batches: int, pool: concurrent.futures.Executor | None) -> Iterator[list[np.ndarray]]:
    """Give batches of shuffled pairs, made in this thread or in a pool's."""
    rng = np.random.default_rng(0)
    order = list(itertools.islice(itertools.chain.from_iterable(rng.permutation(len(pairs)) for _ in itertools.count()),
                                  batches * BATCH))  # fmt: skip
    work = [([pairs[i] for i in order[b * BATCH : (b + 1) * BATCH]], b * BATCH) for b in range(batches)]
    yield from map(plain_batch, work) if pool is None else pool.map(plain_batch, work)


@dataclasses.dataclass
class TorchData:
    """The plain loader as a torch Dataset."""

    pairs: Files

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> list[np.ndarray]:
        return plain_item(self.pairs[index], index)


def torch_loader(pairs: Files, batches: int, workers: int) -> Iterator:
    """The same through torch's DataLoader."""
    torch_data = importlib.import_module("torch.utils.data")
    data = torch_data.DataLoader(TorchData(pairs), BATCH, shuffle=True, num_workers=workers, drop_last=True)
    yield from itertools.islice(itertools.chain.from_iterable(itertools.repeat(data)), batches)


class Ours:
    """Our pipeline: a cache of decoded images, grain, and the views on the device."""

    def __init__(self, split, open_images: Callable[[], PairImages]):
        import jax

        from effnet_jax.config import AugmentConfig
        from effnet_jax.images.augment import augment, row_keys
        from effnet_jax.images.preprocessing import Preprocessing

        self.split = split
        started = time.perf_counter()
        self.images = open_images()
        self.preparation_s = time.perf_counter() - started
        preprocessing, paper, key = Preprocessing(), AugmentConfig(), jax.random.key(0)

        def views(batch):
            images = [
                (view, branch, batch[f"{role}_{size}"])
                for branch, role in enumerate(("sketch", "photo"))
                for view, size in (("a0", SIZE), ("a1", SOURCE))
            ]
            keys = [row_keys(key, batch["position"], branch) for _, branch, _ in images]
            return [augment(image[0], image[2], k, preprocessing, paper) for image, k in zip(images, keys, strict=True)]

        self.views = jax.jit(views)

    def __call__(self, batches: int, augmented: bool) -> Iterator:
        """Give batches: on the host only, or with their views made."""
        import jax

        from effnet_jax.data.pipeline import train_batches

        with contextlib.closing(
            train_batches(self.split, self.images, views=("a0", "a1"), batch_size=BATCH, seed=0)
        ) as stream:
            for batch in itertools.islice(stream, batches):
                yield jax.block_until_ready(self.views(batch)) if augmented else batch


def draw_folder(root: Path, photos: int = 100, sketches: int = 250) -> Path:
    """Draw a folder of smooth coloured blots with lines, which compress like pictures."""
    rng = np.random.default_rng(0)
    for name in ("trainA", "trainB", "testA", "testB"):
        (root / name).mkdir(parents=True)
    for part, count, drawn in (("train", photos, sketches), ("test", 4, 4)):
        for j in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize(
                (256, 256), Image.Resampling.BICUBIC
            )
            coarse.save(root / f"{part}B" / f"{j:05d}.png")
        for i in range(drawn):
            lines = np.full((256, 256, 3), 255, np.uint8)
            for y, x in rng.integers(0, 254, (40, 2)):
                lines[y : y + 2], lines[:, x : x + 2] = 0, 90
            Image.fromarray(lines).save(root / f"{part}A" / f"{i % count:05d}_{i // count + 1:02d}.png")
    return root


def pairs_per_second(make, batches: int) -> float:
    """Time one pass."""
    started = time.perf_counter()
    made = sum(1 for _ in make(batches))
    if made != batches:
        raise RuntimeError(f"{made} batches were made instead of {batches}")
    return batches * BATCH / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with trainA, trainB, testA and testB")
    parser.add_argument(
        "--pairs", type=int, default=320, help="pairs a pass of the plain loader; ours makes four times as many"
    )
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run(given.data or draw_folder(scratch / "data"), scratch, max(1, given.pairs // BATCH), given.rounds, stack)


def run(data: Path, scratch: Path, batches: int, rounds: int, stack: contextlib.ExitStack) -> None:
    """Measure every loader in turn, several times over, and print medians."""
    from effnet_jax.config import PenConfig
    from effnet_jax.data.cache import cached_images
    from effnet_jax.data.drawings import CANVAS, Drawings
    from effnet_jax.data.loading import load_split
    from effnet_jax.data.photo_folder import open_photos

    split = load_split("sketch_photo_folder", "train", source_dir=str(data), tfds_dir=str(scratch / "tfds"))
    files = {folder: {f.stem: f for f in (data / folder).iterdir()} for folder in ("trainA", "trainB")}
    pairs = [(files["trainA"][s], files["trainB"][split.photo_ids[j]])
             for s, j in zip(split.sketch_ids, split.photo_index, strict=True)]  # fmt: skip
    cores = os.cpu_count() or 1
    pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(cores))
    edges, photos = (SIZE, SOURCE), open_photos(data / "trainB", PenConfig(), scratch)
    ram = Ours(split, lambda: cached_images(split, edges, mode="ram"))
    disk = Ours(split, lambda: cached_images(split, edges, mode="disk", cache_dir=scratch / "cache"))
    resized = cached_images(photos, {"sketch": (), "photo": (*edges, CANVAS)}, mode="ram")
    drawing = Ours(photos, lambda: Drawings(resized, PenConfig(), seed=0))
    plain = {
        "plain, 1 thread": lambda n: plain_loader(pairs, n, None),
        f"plain, {cores} threads": lambda n: plain_loader(pairs, n, pool),
    }
    if importlib.util.find_spec("torch"):
        plain[f"torch DataLoader, {cores} workers"] = lambda n: torch_loader(pairs, n, cores)
    ours = {
        "ours, RAM, with augmentation": lambda n: ram(n, augmented=True),
        "ours, disk, with augmentation": lambda n: disk(n, augmented=True),
        "ours, RAM, host part only": lambda n: ram(n, augmented=False),
        "ours, drawing, host part only": lambda n: drawing(n, augmented=False),
    }
    loaders = {name: (make, batches) for name, make in plain.items()} | {n: (m, 4 * batches) for n, m in ours.items()}
    for make, _ in loaders.values():
        pairs_per_second(make, 4)  # compile, start processes, read the disk
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, (make, count) in loaders.items():
            speeds[name].append(pairs_per_second(make, count))
    print(f"{len(pairs)} pairs of {data.name}, batches of {BATCH}, {rounds} rounds; median pairs/s (lowest - highest)")
    for name, found in speeds.items():
        print(f"  {name:32s} {statistics.median(found):8.0f}  ({min(found):.0f} - {max(found):.0f})")
    print(f"decoding once took {ram.preparation_s:.2f} s into RAM, {disk.preparation_s:.2f} s onto disk")
    best = max(statistics.median(speeds[name]) for name in plain)
    ratio = statistics.median(speeds["ours, RAM, with augmentation"]) / best
    print(f"ratio, ours with augmentation (RAM) over the fastest plain loader: {ratio:.1f}")


if __name__ == "__main__":
    main()
