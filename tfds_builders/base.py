"""What all sketch-photo data sets have in common: reading a folder, checking it, and the records.

A data set is a `Builder` derived from `PairsBuilder` that only states its facts. Splits `train` and `test` hold one
record per sketch (sketch, photo, sketch_id, photo_id, tag). `train_gallery` and `test_gallery` hold one per photo
(photo, photo_id), also for photos without a sketch; since TFDS gives all splits the same features, their `sketch` is
one white pixel and their `sketch_id` and `tag` are empty. Every split is in code point order of its ids.

Nothing here needs TensorFlow, as long as the file format is array_record.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from effnet_jax.data.builders import Builder, Counts
from effnet_jax.data.folders import FolderSplit, PhotoFile, SketchFile, read_folder, split_by_photo
from effnet_jax.data.problems import DataError
from effnet_jax.images.decode import encode_png, plain_encoding
from effnet_jax.runtime.progress import in_threads, track

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class PairsConfig(tfds.core.BuilderConfig):
    """One form of a data set.

    Attributes:
        name: of the form.
        description: of the form.
        tag: keep only the sketches with this tag.
        counts: the published counts of this form; None takes the builder's.
        variants: other known counts by what they are; None takes the builder's.
        test_share: share of the photos that becomes the test split where a folder has none, in (0, 1).
        split_seed: seed of that division.
    """

    name: str  # this and the description are TFDS' own fields, repeated for type checkers, which do not see them
    description: str | None = None
    tag: str | None = None
    counts: Counts | None = None
    variants: Mapping[str, Counts] | None = None
    test_share: float = 0.2
    split_seed: int = 0


class PairsBuilder(tfds.core.GeneratorBasedBuilder, Builder, skip_registration=True):
    """Builds a data set from a folder in the trainA/trainB/testA/testB layout.

    Attributes:
        HOMEPAGE: where the data is described.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    HOMEPAGE: ClassVar[str] = ""

    _splits: dict[str, FolderSplit] | None = None

    @classmethod
    def generated(cls) -> str | None:
        """None: a set is built from a folder unless it says otherwise."""
        return None

    @classmethod
    def forms(cls, form: str, source: Path, split_seed: int) -> list[PairsConfig | None]:
        """The one form of that name, or None where the set has only one."""
        known = {config.name: config for config in cls.BUILDER_CONFIGS}
        if not known and not form:
            return [None]
        wanted = form or cls.DEFAULT_BUILDER_CONFIG_NAME
        if wanted not in known:
            there_is = ", ".join(f"{cls.name}/{config}" for config in known) or f"only {cls.name}"
            raise DataError(f"there is no data set {cls.name}/{form}; there is {there_is}")
        return [known[wanted]]

    def read_source(self, source: Path, *, check_images: bool = True) -> dict[str, FolderSplit]:
        """The splits that would be built from a folder, held to the published counts."""
        config = self._pairs_config
        splits = read_folder(source, tag=config.tag, check_images=check_images)
        counts = config.counts or self.COUNTS
        if counts is None and "test" not in splits:
            train, test = split_by_photo(splits["train"], config.test_share, config.split_seed)
            splits = {"train": train, "test": test}
        if counts is not None:
            check_counts(self.name, splits, counts, self.VARIANTS if config.variants is None else config.variants)
        return splits

    def check_source(self, source: Path) -> None:
        """Read and check a folder ahead of `download_and_prepare`, which then builds from what was found."""
        splits = self.read_source(source)
        _warn_of_shared_photos(self.name, splits)
        self._splits = splits

    def take_over(self, checked: "PairsBuilder") -> None:
        """Build from what another builder of the same form has checked."""
        self._splits = checked._splits

    @property
    def _pairs_config(self) -> PairsConfig:
        config = self.builder_config
        return config if isinstance(config, PairsConfig) else PairsConfig(name="")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "sketch": tfds.features.Image(shape=(None, None, 3)),
            "photo": tfds.features.Image(shape=(None, None, 3)),
            "sketch_id": tfds.features.Text(),
            "photo_id": tfds.features.Text(),
            "tag": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE or None,
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        if self._splits is None:
            self.check_source(_source_below(Path(dl_manager.manual_dir), self.name))
        return self._generators(self._splits or {}, _read_checked)

    def _generators(
        self, splits: Mapping[str, FolderSplit], read: Callable[[SketchFile | PhotoFile], bytes]
    ) -> dict[str, Iterator[tuple[int, Any]]]:
        self.info.metadata.update(describe(splits, self.generated()))
        generators = {}
        for name, split in splits.items():
            generators[name] = _pairs(split, read, f"{self.name} {name}")
            generators[f"{name}_gallery"] = _gallery(split, read, f"{self.name} {name} gallery")
        return generators

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
    ) -> None:
        """Write the records in the order of the ids, one file per split.

        TFDS' own writer holds a split in memory, and above 1 GB needs TensorFlow for its temporary files.
        """
        features, writer, infos = self.info.features, self._example_writer(), []
        for name, records in self._split_generators(dl_manager).items():
            sizes: list[int] = []

            def serialised(records: Iterator[tuple[int, Any]] = records, sizes: list[int] = sizes) -> Iterator[Any]:
                for row, record in records:
                    data = features.serialize_example(record)
                    sizes.append(len(data))
                    yield row, data

            template = tfds.core.ShardedFileTemplate(
                data_dir=self.data_path,
                dataset_name=self.name,
                split=name,
                filetype_suffix=self.info.file_format.file_suffix,
            )
            writer.write(template.sharded_filepath(shard_index=0, num_shards=1), serialised())
            infos.append(
                tfds.core.SplitInfo(
                    name=name, shard_lengths=[len(sizes)], num_bytes=sum(sizes), filename_template=template
                )
            )
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def _generate_examples(self) -> None:
        raise NotImplementedError("the records come from _split_generators")

    # What TFDS would print here is said, shorter, by the log of effnet_jax.data.built.
    def _log_download_bytes(self) -> None: ...

    def _log_download_done(self) -> None: ...


def check_counts(
    dataset: str, splits: Mapping[str, FolderSplit], published: Counts, variants: Mapping[str, Counts]
) -> None:
    """Hold a folder to the published counts; a known variant is a warning.

    Raises:
        DataError: the counts are neither the published ones nor those of a known variant.
    """
    found = {name: (len(split.sketches), len(split.photos)) for name, split in splits.items()}
    if found == dict(published):
        return
    for what, counts in variants.items():
        if found == dict(counts):
            log.warning(
                "%s: this is %s (%s), not the published set (%s); say so beside its results",
                dataset,
                what,
                _show(found),
                _show(published),
            )
            return
    known = "".join(f"; {what}: {_show(counts)}" for what, counts in variants.items())
    raise DataError(
        f"{dataset}: found {_show(found)}, published are {_show(published)}{known}. Files are missing or were added; "
        "fetch the data again, or use the data set sketch_photo_folder, which takes any folder as it is."
    )


def describe(splits: Mapping[str, FolderSplit], generated: str | None = None) -> dict[str, Any]:
    """What a built set says of its source: ids, tags and SHA-256 of every file, in the order of the records."""
    return {
        "generated": generated,
        "splits": {
            name: {
                "sha256": split.sha256,
                "sketches": [[s.sketch_id, s.photo_id, s.tag, s.sha256] for s in split.sketches],
                "photos": [[p.photo_id, p.sha256] for p in split.photos],
            }
            for name, split in splits.items()
        },
    }


def _show(counts: Counts) -> str:
    return ", ".join(f"{name} {sketches} sketches / {photos} photos" for name, (sketches, photos) in counts.items())


def _source_below(manual_dir: Path, dataset: str) -> Path:
    inside = manual_dir / dataset
    return inside if inside.is_dir() and not (manual_dir / "trainA").is_dir() else manual_dir


def _warn_of_shared_photos(dataset: str, splits: Mapping[str, FolderSplit]) -> None:
    in_train = {photo.sha256: photo.path for photo in splits["train"].photos}
    shared = (
        [(in_train[p.sha256], p.path) for p in splits["test"].photos if p.sha256 in in_train]
        if "test" in splits
        else []
    )
    if shared:
        listed = ", ".join(f"{Path(*a.parts[-2:])} = {Path(*b.parts[-2:])}" for a, b in shared)
        log.warning("%s: photos that are the same file in training and test: %s", dataset, listed)


def _read_checked(file: SketchFile | PhotoFile) -> bytes:
    data = file.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DataError(f"{file.path} changed while the data set was being built; start again when it rests")
    return data


def _pairs(split: FolderSplit, read: Callable[[SketchFile | PhotoFile], bytes], what: str) -> Iterator[tuple[int, Any]]:
    photos = {photo.photo_id: photo for photo in split.photos}

    @lru_cache(maxsize=32)  # the sketches of one photo stand side by side
    def photo_bytes(photo_id: str) -> bytes:
        return plain_encoding(read(photos[photo_id]))

    def example(sketch: SketchFile) -> dict[str, Any]:
        return {
            "sketch": plain_encoding(read(sketch)),
            "photo": photo_bytes(sketch.photo_id),
            "sketch_id": sketch.sketch_id,
            "photo_id": sketch.photo_id,
            "tag": sketch.tag,
        }

    yield from _numbered(example, split.sketches, what)


def _gallery(
    split: FolderSplit, read: Callable[[SketchFile | PhotoFile], bytes], what: str
) -> Iterator[tuple[int, Any]]:
    no_sketch = encode_png(np.full((1, 1, 3), 255, np.uint8))

    def example(photo: PhotoFile) -> dict[str, Any]:
        picture = plain_encoding(read(photo))
        return {"sketch": no_sketch, "photo": picture, "sketch_id": "", "photo_id": photo.photo_id, "tag": ""}

    yield from _numbered(example, split.photos, what)


def _numbered(example: Callable[[Any], Any], files: Sequence[Any], what: str) -> Iterator[tuple[int, Any]]:
    yield from enumerate(track(in_threads(example, files, ahead=16), total=len(files), description=f"building {what}"))
