"""Batches of decoded images: the same rows in the same order for any number of hosts and workers and any first step."""

import dataclasses
import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, UInt8

from effnet_jax.data.cache import ROLES, ImageCache, ImageRows, Role
from effnet_jax.data.split import Split
from effnet_jax.images.preprocessing import source_size

AHEAD = 4  # batches that are made before they are asked for
_OTHER = 2**20  # epochs later: what draws anew draws the other sketch otherwise
ENDLESS = 2**62  # pairs; grain counts batches of one pair over its own, longer, endless stream and overflows


@runtime_checkable
class PairImages(Protocol):
    """The images of sketch-photo pairs by row: an `ImageCache`, or `Drawings`. Picklable and safe in threads."""

    @property
    def mode(self) -> str:
        """Where the pixels are; "none": they are decoded at each access."""
        ...

    @property
    def sizes(self) -> Mapping[Role, tuple[int, ...]]:
        """Edges that there are, pixels."""
        ...

    def take_pairs(
        self, sketches: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], sizes: Mapping[Role, tuple[int, ...]]
    ) -> dict[tuple[Role, int], UInt8[np.ndarray, "b _ _ 3"]]:
        """Give sketches and their photos, as an epoch shows them."""
        ...


def train_batches(
    split: Split,
    images: PairImages,
    *,
    views: Sequence[str] | Mapping[str, Sequence[str]],
    batch_size: int,
    seed: int,
    image_size: int = 224,
    start_step: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    unpaired: tuple[Split, PairImages] | None = None,
    unpaired_share: float = 0.5,
    other_view: str = "",
    order: Callable[[int], Int[np.ndarray, " s"]] | None = None,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Give this host's rows of the global batches, without end.

    Each epoch shows every sketch once, in a new order; batches run across epoch ends. Unpaired photos join as a second
    stream with epochs of its own, in even turns with the first. Global batch t is made of the
    positions t * batch_size .. (t + 1) * batch_size - 1 of one endless stream, and host h has the h-th part of them, so
    resuming at a step needs no saved state, and neither hosts nor workers change what is seen.

    Args:
        split: the sketches and their photos.
        images: of this split, at the source sizes of the views.
        views: names of the views, or by "sketch" and "photo": which source sizes each needs.
        batch_size: pairs in a global batch; a multiple of `hosts`, at most the number of sketches.
        seed: of the order, 0 .. 2**32 - 1.
        image_size: edge that the encoders see, pixels.
        start_step: first global batch, counted from 0.
        host: this host, counted from 0.
        hosts: how many hosts share each batch.
        workers: processes that decode where nothing is cached; 0 takes threads. Cached images need none and get none.
        unpaired: a split of drawings that joins, and its images; its photos are numbered behind the gallery.
        unpaired_share: of the rows of a batch that are drawings, in (0, 1).
        order: of the sketches in an epoch; picklable. None: at random.
        other_view: give another sketch of the photo besides, for this view; "" gives none.

    Returns:
        Dicts of arrays that own their memory: `sketch_<size>` and `photo_<size>` uint8 (b, size, size, 3) for the sizes
        needed, `other_<size>` where it is asked for, `photo_index` int32 (b,), the photo's row in the gallery,
        `sketch_index` int32 (b,), and `position` uint32 (b,), the place in the stream (modulo 2**32).

    Raises:
        ValueError: impossible arguments; all of them in one message.
    """
    sources = [(split, images)] if unpaired is None else [(split, images), unpaired]
    shares = [1.0] if unpaired is None else [1 - unpaired_share, unpaired_share]
    _check([source for source, _ in sources], shares, batch_size, seed, start_step, host, hosts, workers)
    if not isinstance(views, Mapping):
        views = dict.fromkeys(ROLES, views)
    sizes = {role: tuple(sorted({source_size(view, image_size) for view in views[role]})) for role in ROLES}
    for source, held in sources:
        missing = sorted({size for role in ROLES for size in set(sizes[role]) - set(held.sizes[role])})
        if missing:
            raise ValueError(f"the views {views} need images of {missing} pixels, but {source.name} has {held.sizes}")
    import grain

    streams = [
        grain.MapDataset.range(len(source.sketch_ids))
        .seed(seed)
        .shuffle()
        .repeat()
        .map_with_index(_Row(number, len(source.sketch_ids)))
        for number, (source, _) in enumerate(sources)
    ]
    if order is not None:
        count = len(split.sketch_ids)
        streams[0] = grain.MapDataset.range(count).repeat().map_with_index(_Ordered(order, count))
    stream = streams[0] if unpaired is None else grain.MapDataset.mix(streams, shares)
    batches = (
        stream.map_with_index(_with_position)[start_step * batch_size : ENDLESS]
        .batch(batch_size // hosts, batch_fn=np.asarray)[host::hosts]
        .map(_Gather(sources, sizes, seed, source_size(other_view, image_size) if other_view else 0))
    )
    decoding = any(held.mode == "none" for _, held in sources)
    drawing = any(not isinstance(held, ImageCache) for _, held in sources)
    return _iterate(batches, workers if decoding else 0, busy=decoding or drawing)


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
    return _iterate(grain.MapDataset.range(-(-len(images) // batch_size)).map(padded), workers=0, busy=decoding)


@dataclasses.dataclass(frozen=True)
class _Row:
    """Turn a sketch at its position in the stream of its source into a row (source, sketch, epoch)."""

    source: int
    sketches: int

    def __call__(self, position: int, sketch: int) -> tuple[int, int, int]:
        return self.source, sketch, position // self.sketches


@dataclasses.dataclass(frozen=True)
class _Ordered:
    """Turn a position in the stream of the first source into a row, in an order that is given for each epoch."""

    order: Callable[[int], Int[np.ndarray, " s"]]
    sketches: int

    def __call__(self, position: int, place: int) -> tuple[int, int, int]:
        epoch = position // self.sketches
        return 0, int(self.order(epoch)[place]), epoch


@dataclasses.dataclass(frozen=True)
class _Gather:
    """Turn rows (source, sketch, epoch, position) into a batch. Runs in worker processes, so it must not need JAX."""

    sources: Sequence[tuple[Split, PairImages]]
    sizes: Mapping[Role, tuple[int, ...]]
    seed: int
    other_size: int  # of another sketch of the photo; 0: none

    def __call__(self, rows: Int[np.ndarray, "b 4"]) -> dict[str, np.ndarray]:
        number, sketch, epoch, position = rows.T
        batch = {
            "sketch_index": np.empty(len(rows), np.int32),
            "photo_index": np.empty(len(rows), np.int32),
            "position": (position % 2**32).astype(np.uint32),
        }
        sketches = photos = 0  # in the sources before
        for i, (split, images) in enumerate(self.sources):
            of_source = np.flatnonzero(number == i)
            if len(of_source):
                index = sketch[of_source]
                batch["sketch_index"][of_source] = index + sketches
                batch["photo_index"][of_source] = split.photo_index[index] + photos
                pictures = images.take_pairs(index, epoch[of_source], self.sizes)
                named = {f"{role}_{size}": taken for (role, size), taken in pictures.items()}
                if self.other_size:
                    others = _others(split, index, position[of_source], self.seed)
                    wanted: dict[Role, tuple[int, ...]] = {"sketch": (self.other_size,), "photo": ()}
                    taken = images.take_pairs(others, epoch[of_source] + _OTHER, wanted)
                    named[f"other_{self.other_size}"] = taken["sketch", self.other_size]
                for name, taken in named.items():
                    if len(of_source) == len(rows):
                        batch[name] = taken
                    else:
                        batch.setdefault(name, np.empty((len(rows), *taken.shape[1:]), np.uint8))[of_source] = taken
            sketches, photos = sketches + len(split.sketch_ids), photos + len(split.photo_ids)
        return batch


def _others(
    split: Split, sketches: Int[np.ndarray, " b"], positions: Int[np.ndarray, " b"], seed: int
) -> Int[np.ndarray, " b"]:
    """Choose another sketch of each sketch's photo, by its place in the stream; itself where it is the only one."""
    chosen = []
    for sketch, position in zip(sketches.tolist(), positions.tolist(), strict=True):
        same = np.flatnonzero(split.photo_index == split.photo_index[sketch])
        others = same[same != sketch]
        rng = np.random.default_rng([seed, 3, position])
        chosen.append(int(rng.choice(others)) if len(others) else sketch)
    return np.array(chosen)


def _with_position(position: int, row: tuple[int, int, int]) -> tuple[int, int, int, int]:
    return *row, position


def _iterate(dataset: Any, workers: int, *, busy: bool) -> Generator[Any, None, None]:
    """Make elements ahead of time, in threads or in processes, in their order."""
    import grain
    from absl import flags

    if not workers:
        threads = min(8, os.cpu_count() or 1) if busy else 2  # copying cached rows takes little
        yield from dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD))
        return
    if not flags.FLAGS.is_parsed():  # grain passes its flags on to the workers
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    for batch in dataset.to_iter_dataset(reading).mp_prefetch(options):
        # The workers' arrays lie in shared memory, which grain takes back; a device may still be reading them.
        yield {name: np.array(rows) for name, rows in batch.items()}


def _check(
    splits: Sequence[Split],
    shares: Sequence[float],
    batch_size: int,
    seed: int,
    start_step: int,
    host: int,
    hosts: int,
    workers: int,
) -> None:
    rules = [
        (hosts >= 1, f"hosts={hosts} must be above 0"),
        (0 <= host < hosts, f"host={host} must lie in 0..{hosts - 1}, as there are {hosts} hosts"),
        (batch_size >= 1, f"batch_size={batch_size} must be above 0"),
        (
            hosts < 1 or batch_size % hosts == 0,
            f"batch_size={batch_size} must be a multiple of the number of hosts, {hosts}",
        ),
        (all(0 < share <= 1 for share in shares), f"unpaired_share={shares[-1]} must lie between 0 and 1"),
        *(
            (
                math.ceil(share * batch_size) <= len(split.sketch_ids),
                f"batch_size={batch_size} is larger than the {len(split.sketch_ids)} sketches of {split.dataset} "
                f"{split.name}"
                + (f" for its share of {share:g}" if share < 1 else "")
                + ": a batch would hold a sketch twice; take a smaller batch or more data",
            )
            for split, share in zip(splits, shares, strict=True)
        ),
        (0 <= seed < 2**32, f"seed={seed} must lie in 0..2**32 - 1"),
        (start_step >= 0, f"start_step={start_step} must not be negative"),
        (workers >= 0, f"workers={workers} must not be negative"),
    ]
    if problems := [message for ok, message in rules if not ok]:
        raise ValueError("train_batches: " + "; ".join(problems))
