"""QMUL-Shoe-V2."""

from collections.abc import Mapping
from typing import ClassVar

from tfds_builders.base import Counts, PairsBuilder


class Builder(PairsBuilder):
    """2000 shoes with several sketches each."""

    HOMEPAGE = "https://www.eecs.qmul.ac.uk/~qian/Project_cvpr16.html"
    COUNTS: ClassVar[Counts] = {"train": (5982, 1800), "test": (666, 200)}
    VARIANTS: ClassVar[Mapping[str, Counts]] = {
        "the variant with 6730 sketches": {"train": (6051, 1800), "test": (679, 200)}
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put trainA and testA (sketches), trainB and testB (photos) of QMUL-Shoe-V2 into one folder; "
        "tfds_builders/qmul_shoe_v2/README.md says where they come from."
    )
