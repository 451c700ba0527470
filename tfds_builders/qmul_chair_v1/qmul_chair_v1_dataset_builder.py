"""QMUL-Chair-V1."""

from typing import ClassVar

from tfds_builders.base import Counts, PairsBuilder


class Builder(PairsBuilder):
    """297 chairs, one sketch per photo."""

    HOMEPAGE = "https://www.eecs.qmul.ac.uk/~qian/Project_cvpr16.html"
    COUNTS: ClassVar[Counts] = {"train": (200, 200), "test": (97, 97)}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put trainA and testA (sketches), trainB and testB (photos) of QMUL-Chair-V1 into one folder; "
        "tfds_builders/qmul_chair_v1/README.md says where they come from."
    )
