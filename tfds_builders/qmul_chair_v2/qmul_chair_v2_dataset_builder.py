"""QMUL-Chair-V2."""

from collections.abc import Mapping
from typing import ClassVar

from tfds_builders.base import Counts, PairsBuilder


class Builder(PairsBuilder):
    """400 chairs with several sketches each."""

    HOMEPAGE = "https://www.eecs.qmul.ac.uk/~qian/Project_cvpr16.html"
    COUNTS: ClassVar[Counts] = {"train": (964, 300), "test": (311, 100)}
    VARIANTS: ClassVar[Mapping[str, Counts]] = {
        "the second public copy, which divides the same sketches otherwise": {"train": (952, 300), "test": (323, 100)}
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put trainA and testA (sketches), trainB and testB (photos) of QMUL-Chair-V2 into one folder; "
        "tfds_builders/qmul_chair_v2/README.md says where they come from."
    )
