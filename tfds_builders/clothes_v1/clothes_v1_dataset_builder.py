"""Clothes-V1."""

from typing import ClassVar

from tfds_builders.base import Counts, PairsBuilder


class Builder(PairsBuilder):
    """500 garments drawn by seven designers; the tag is the designer."""

    HOMEPAGE = "https://arxiv.org/abs/2406.11551"
    COUNTS: ClassVar[Counts] = {"train": (925, 380), "test": (275, 120)}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put trainA and testA (sketches), trainB and testB (photos) of Clothes-V1 into one folder; "
        "tfds_builders/clothes_v1/README.md says where they come from."
    )
