"""procedural_garments: drawn, not downloaded."""

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from tfds_builders.base import Counts, PairsBuilder, check_counts


class Builder(PairsBuilder):
    """500 drawn garments and 1200 sketches of them by seven drawn designers, in the shape of Clothes-V1."""

    COUNTS: ClassVar[Counts] = {"train": (925, 380), "test": (275, 120)}

    @classmethod
    def generated(cls) -> str:
        """The hash of the generator's pictures: another hash is another data set."""
        from tfds_builders.procedural_garments.garments import GENERATOR_SHA256

        return f"seed 0, {GENERATOR_SHA256}"

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        from tfds_builders.procedural_garments.drawn import draw_garments

        splits, files = draw_garments()
        check_counts(self.name, splits, self.COUNTS, {})
        return self._generators(splits, lambda file: files[file.path])
