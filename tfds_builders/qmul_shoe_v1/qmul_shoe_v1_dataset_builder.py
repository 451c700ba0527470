"""QMUL-Shoe-V1, with and without its further sketches."""

from typing import ClassVar

from tfds_builders.base import Counts, PairsBuilder, PairsConfig

_SINGLE: Counts = {"train": (304, 304), "test": (115, 115)}
_ALL: Counts = {"train": (1207, 304), "test": (115, 115)}


class Builder(PairsBuilder):
    """419 shoes, one sketch per photo; three more sketches for nearly every training photo."""

    HOMEPAGE = "https://www.eecs.qmul.ac.uk/~qian/Project_cvpr16.html"
    BUILDER_CONFIGS: ClassVar[list[PairsConfig]] = [
        PairsConfig(
            name="single",
            description="The official set: sketches tagged 1, one per photo.",
            tag="1",
            counts=_SINGLE,
        ),
        PairsConfig(
            name="all",
            description="With the 903 further sketches of the training photos, tagged 2 to 4.",
            counts=_ALL,
            variants={"the official set without its further sketches": _SINGLE},
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "single"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put trainA and testA (sketches), trainB and testB (photos) of QMUL-Shoe-V1 into one folder; "
        "tfds_builders/qmul_shoe_v1/README.md says where they come from."
    )
