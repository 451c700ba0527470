"""Batches of decoded images: the same rows in the same order for any number of hosts and workers and any first step."""

import dataclasses
import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from effnet_jax.data.cache import ROLES, ImageCache, ImageRows, Role
from effnet_jax.data.preprocessing import source_size
from effnet_jax.data.split import Split

AHEAD = 4  # batches that are made before they are asked for
ENDLESS = 2**62  # pairs; grain counts batches of one pair over its own, longer, endless stream and overflows


def train_batches(
    split: Split,
    cache: ImageCache,
    *,
    views: Sequence[str] | Mapping[str, Sequence[str]],
    batch_size: int,
    seed: int,
    image_size: int = 224,
    start_step: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Give this host's rows of the global batches, without end.

    Each epoch shows every sketch once, in a new order; batches run across epoch ends. Global batch t is made of the
    positions t * batch_size .. (t + 1) * batch_size - 1 of one endless stream, and host h has the h-th part of them, so
    resuming at a step needs no saved state, and neither hosts nor workers change what is seen.

    Args:
        split: the sketches and their photos.
        cache: the images of this split, at the source sizes of the views.
        views: names of the views, or by "sketch" and "photo": which source sizes each needs.
        batch_size: pairs in a global batch; a multiple of `hosts`, at most the number of sketches.
        seed: of the order, 0 .. 2**32 - 1.
        image_size: edge that the encoders see, pixels.
        start_step: first global batch, counted from 0.
        host: this host, counted from 0.
        hosts: how many hosts share each batch.
        workers: processes that decode where nothing is cached; 0 takes threads. Cached images need none and get none.

    Returns:
        Dicts of arrays that own their memory: `sketch_<size>` and `photo_<size>` uint8 (b, size, size, 3) for the sizes
        needed, `photo_index` int32 (b,), the photo's row in the gallery, `sketch_index` int32 (b,), and `position`
        uint32 (b,), the place in the stream (modulo 2**32).

    Raises:
        ValueError: impossible arguments; all of them in one message.
    """
    _check(split, batch_size, seed, start_step, host, hosts, workers)
    if not isinstance(views, Mapping):
        views = dict.fromkeys(ROLES, views)
    sizes = {role: tuple(sorted({source_size(view, image_size) for view in views[role]})) for role in ROLES}
    missing = sorted({size for needed in sizes.values() for size in needed} - set(cache.sizes))
    if missing:
        raise ValueError(f"the views {views} need images of {missing} pixels, but the cache has {cache.sizes}")
    gather = _Gather(cache, np.asarray(split.photo_index, np.int32), sizes)
    import grain

    batches = (
        grain.MapDataset.range(len(split.sketch_ids))
        .seed(seed)
        .shuffle()
        .repeat()
        .map_with_index(_with_position)[start_step * batch_size : ENDLESS]
        .batch(batch_size // hosts, batch_fn=np.asarray)[host::hosts]
        .map(gather)
    )
    return _iterate(batches, 0 if cache.mode != "none" else workers, decoding=cache.mode == "none")


def eval_batches(
    images: ImageRows | UInt8[np.ndarray, "n h w 3"], batch_size: int, *, host: int = 0, hosts: int = 1
) -> Generator[tuple[UInt8[np.ndarray, "b h w 3"], Bool[np.ndarray, " c"]], None, None]:
    """Give images in their order, in batches of one size; the last is filled up with black.

    Args:
        images: rows of a cache, or an array.
        batch_size: images in a batch over all hosts, above 0; a multiple of `hosts`.
        host: this host, counted from 0.
        hosts: how many hosts share each batch; host h has the h-th part of its rows.

    Returns:
        Pairs: this host's images, and which rows of the whole batch are images rather than filling.

    Raises:
        ValueError: batch_size is not above 0, or does not divide over the hosts.
    """
    if batch_size < 1 or hosts < 1 or batch_size % hosts or not 0 <= host < hosts:
        raise ValueError(f"batch_size={batch_size} must be above 0 and a multiple of hosts={hosts}; host={host}")
    import grain

    share = batch_size // hosts

    def padded(batch: int) -> tuple[np.ndarray, np.ndarray]:
        first = batch * batch_size + host * share
        rows = images[first : first + share]
        filled = np.zeros((share, *images.shape[1:]), np.uint8)
        filled[: len(rows)] = rows
        return filled, np.arange(batch * batch_size, (batch + 1) * batch_size) < len(images)

    decoding = isinstance(images, ImageRows) and images.pixels is None
    return _iterate(grain.MapDataset.range(-(-len(images) // batch_size)).map(padded), workers=0, decoding=decoding)


@dataclasses.dataclass(frozen=True)
class _Gather:
    """Turn rows (sketch, position) into a batch. Runs in threads and worker processes, so it must not need JAX."""

    cache: ImageCache
    photo_index: Int[np.ndarray, " s"]
    sizes: Mapping[Role, tuple[int, ...]]

    def __call__(self, rows: Int[np.ndarray, "b 2"]) -> dict[str, np.ndarray]:
        sketch, position = rows[:, 0].astype(np.int32), rows[:, 1]
        batch = {
            "sketch_index": sketch,
            "photo_index": self.photo_index[sketch],
            "position": (position % 2**32).astype(np.uint32),
        }
        indices: dict[Role, np.ndarray] = {"sketch": sketch, "photo": batch["photo_index"]}
        for role, index in indices.items():
            for size, images in self.cache.take(role, index, self.sizes[role]).items():
                batch[f"{role}_{size}"] = images
        return batch


def _with_position(position: int, row: int) -> tuple[int, int]:
    return row, position


def _iterate(dataset: Any, workers: int, *, decoding: bool) -> Generator[Any, None, None]:
    """Make elements ahead of time, in threads or in processes, in their order."""
    import grain
    from absl import flags

    if not workers:
        threads = min(8, os.cpu_count() or 1) if decoding else 2  # copying cached rows takes little
        yield from dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD))
        return
    if not flags.FLAGS.is_parsed():  # grain passes its flags on to the workers
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    for batch in dataset.to_iter_dataset(reading).mp_prefetch(options):
        # The workers' arrays lie in shared memory, which grain takes back; a device may still be reading them.
        yield {name: np.array(rows) for name, rows in batch.items()}


def _check(split: Split, batch_size: int, seed: int, start_step: int, host: int, hosts: int, workers: int) -> None:
    sketches = len(split.sketch_ids)
    rules = [
        (hosts >= 1, f"hosts={hosts} must be above 0"),
        (0 <= host < hosts, f"host={host} must lie in 0..{hosts - 1}, as there are {hosts} hosts"),
        (batch_size >= 1, f"batch_size={batch_size} must be above 0"),
        (
            hosts < 1 or batch_size % hosts == 0,
            f"batch_size={batch_size} must be a multiple of the number of hosts, {hosts}",
        ),
        (
            batch_size <= sketches,
            f"batch_size={batch_size} is larger than the {sketches} sketches of {split.dataset} {split.name}: a batch "
            "would hold a sketch twice; take a smaller batch or more data",
        ),
        (0 <= seed < 2**32, f"seed={seed} must lie in 0..2**32 - 1"),
        (start_step >= 0, f"start_step={start_step} must not be negative"),
        (workers >= 0, f"workers={workers} must not be negative"),
    ]
    if problems := [message for ok, message in rules if not ok]:
        raise ValueError("train_batches: " + "; ".join(problems))
