"""What searching one's own photos costs: embedding, index size, start-up, and latency by the number of photos.

  python benchmarks/catalogue.py [--run RUN --photos FOLDER] [--counts 1000 100000 1000000]

Latency is measured on random unit vectors of width 512 in float16, from a map and resident in float32, warm; the median
and the smallest of seven searches. With --run and --photos also: photos a second, bytes a photo, seconds from the shell
to the result of `effnet-jax search`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from effnet_jax.catalogue import layout
from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.retrieval.top_k import Blocks, top_k

WIDTH, REPEATS = 512, 7


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make_vectors(path, count):
    rng = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (count, WIDTH))
    for start in range(0, count, 50_000):
        block = vectors[start : start + 50_000]
        block[:] = unit(rng.standard_normal(block.shape, np.float32))
    vectors.flush()


def latency(folder, counts):
    make_vectors(folder / "vectors.npy", max(counts))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = unit(np.random.default_rng(1).standard_normal((32, WIDTH), np.float32))
    print(f"{'photos':>10} {'queries':>8}  {'from the map':>24}  {'resident':>24}   milliseconds: median (smallest)")
    index = np.empty((1, 0), np.int32)
    for count in counts:
        part = vectors[:count]
        for many in (1, 32):
            cells = []
            for resident in (False, True):
                blocks = Blocks(part, resident=resident)
                top_k(queries[:many], blocks, 10)
                seconds = []
                for _ in range(REPEATS):
                    start = time.perf_counter()
                    index, _ = top_k(queries[:many], blocks, 10)
                    seconds.append(time.perf_counter() - start)
                cells.append(f"{1e3 * np.median(seconds):.1f} ({1e3 * min(seconds):.1f})")
                del blocks
            print(f"{count:>10,} {many:>8}  {cells[0]:>24}  {cells[1]:>24}", flush=True)
    check_first(vectors, queries[:1], index[:1])


def check_first(vectors, query, index):
    """The last result against NumPy in float64."""
    scores = np.concatenate(
        [vectors[i : i + 50_000].astype(np.float64) @ query[0] for i in range(0, len(vectors), 50_000)]
    )
    wanted = np.argsort(-scores, kind="stable")[:10]
    print("first ten equal to NumPy's:", np.array_equal(wanted, index[0]))


def opening(folder, count):
    """How long opening an index takes: its maps, not its contents."""
    index = folder / "made"
    (index / layout.MODEL).mkdir(parents=True)
    (index / layout.MODEL / "model.json").write_text('{"fingerprint": "made"}')
    embeddings, photos, paths = layout.generation_files(index, 1)
    make_vectors(embeddings, count)
    names = [f"/photos/{i:09d}.jpg".encode() for i in range(count)]
    table = np.zeros(count, layout.PHOTO)
    table["path_end"] = np.cumsum([len(name) for name in names])
    np.save(photos, table)
    paths.write_bytes(b"".join(names))
    layout.write_manifest(index, layout.Manifest(1, count, WIDTH, False, (), (), "made", "2000-01-01T00:00:00"))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        catalogue = Catalogue.open(index)
        seconds.append(time.perf_counter() - start)
        assert len(catalogue) == count
    print(f"opening {count:,} photos: {1e3 * np.median(seconds):.1f} ms")


def real(run, photos, folder):
    program = [sys.executable, "-c", "from effnet_jax.cli.program import main; main()"]
    index = folder / "index"
    for tokens in ("--no-tokens", "--tokens"):
        command = [*program, "embed", photos, "--checkpoint", run, "--out", index, tokens]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout.strip() or done.stderr)
        size = sum(p.stat().st_size for p in index.rglob("*") if p.is_file() and p.parent.name != "model")
        count = sum(1 for _ in Path(photos).rglob("*") if _.is_file())
        print(f"{tokens}: {size / count:,.0f} bytes a photo besides the model")
    sketch = next(p for p in Path(photos).rglob("*") if p.is_file())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([*program, "search", sketch, "--index", index], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    print(f"effnet-jax search, from the shell to the result: {min(seconds):.1f} s (smallest of 3)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    parser.add_argument("--photos")
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        latency(Path(folder), arguments.counts)
        (Path(folder) / "vectors.npy").unlink()
        opening(Path(folder), max(arguments.counts))
        if arguments.run and arguments.photos:
            real(arguments.run, arguments.photos, Path(folder))


if __name__ == "__main__":
    main()
