"""The builders of data sets: what is asked of one, and where they are found by name.

A package brings its builders as entry points of the group `effnet_jax.builders`: the name is that of the data set, the
value `module:class`. A program may bring those of further packages, or hand a class to `load_split`.
"""

import abc
import pkgutil
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from effnet_jax.data.problems import DataError

if TYPE_CHECKING:
    from effnet_jax.data.folders import FolderSplit

GROUP = "effnet_jax.builders"

Counts = Mapping[str, tuple[int, int]]
"""Sketches and photos of each split."""


@runtime_checkable
class Form(Protocol):
    """One form of a data set, such as with or without its further sketches; a configuration of its TFDS builder."""

    name: str


class Builder(abc.ABC):
    """What is asked of a TFDS builder of sketches and photos; docs/data.md says how to write one.

    Attributes:
        name: of the data set.
        VERSION: of its records.
        BUILDER_CONFIGS: its forms; none where it has only one.
        COUNTS: the published counts; None where there are none to hold a folder to: then it may lack its test part.
        VARIANTS: other known counts by what they are; accepted with a warning.
        MANUAL_DOWNLOAD_INSTRUCTIONS: how to get the files, for people.
    """

    name: ClassVar[str]
    VERSION: Any
    BUILDER_CONFIGS: ClassVar[list[Any]]
    COUNTS: ClassVar[Counts | None] = None
    VARIANTS: ClassVar[Mapping[str, Counts]] = {}
    MANUAL_DOWNLOAD_INSTRUCTIONS: Any

    @abc.abstractmethod
    def __init__(self, *, data_dir: Path, config: Any, file_format: str): ...

    @classmethod
    @abc.abstractmethod
    def generated(cls) -> str | None:
        """What the contents of a set without source files depend on; None for sets built from a folder."""

    @classmethod
    @abc.abstractmethod
    def forms(cls, form: str, source: Path, split_seed: int) -> Sequence[Form | None]:
        """The forms that may hold a set, most likely first; None stands for the only one.

        Args:
            form: as the user named it; "" for the usual one.
            source: the folder with the files, which may be gone.
            split_seed: of the division by photo of a folder that has no test part.

        Raises:
            DataError: there is no such form.
        """

    @property
    @abc.abstractmethod
    def data_dir(self) -> Any:
        """Where this builder writes the set."""

    @abc.abstractmethod
    def read_source(self, source: Path, *, check_images: bool = True) -> "dict[str, FolderSplit]":
        """The splits that would be built from a folder, checked; nothing is written.

        Raises:
            DataError: with every offending path, or both counts where they differ from the published ones.
        """

    @abc.abstractmethod
    def check_source(self, source: Path) -> None:
        """Read and check a folder ahead of `download_and_prepare`, which then builds from what was found."""

    @abc.abstractmethod
    def take_over(self, checked: Any) -> None:
        """Build from what another builder of the same form has checked."""

    @abc.abstractmethod
    def download_and_prepare(self, *, download_config: Any) -> None:
        """Build the set."""


def register_builders(package: str) -> None:
    """Make the data sets of a package known, ahead of those that are installed.

    Args:
        package: name of a package in TFDS' layout: each data set is a folder with `<name>_dataset_builder.py`, which
            has the class `Builder`. Nothing of it is imported before a data set is asked for.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"there is no package {package!r} to take data sets from", name=package)
    for module in pkgutil.iter_modules(spec.submodule_search_locations):
        if module.ispkg:
            value = f"{package}.{module.name}.{module.name}_dataset_builder:Builder"
            _registered[module.name] = EntryPoint(module.name, value, GROUP)


def find_builder(dataset: str | type[Builder]) -> type[Builder]:
    """The builder of a data set, by its name without a form; a class is only checked.

    Raises:
        DataError: no data set of that name, or what stands for it is no builder of sketches and photos.
    """
    found: Any = dataset
    if isinstance(dataset, str):
        known = {entry.name: entry for entry in entry_points(group=GROUP)} | _registered
        if dataset not in known:
            there_are = ", ".join(sorted(known)) or f"none; install the package again, for its entry points {GROUP}"
            raise DataError(f"there is no data set {dataset!r}; there are {there_are}")
        found = known[dataset].load()
    if not (isinstance(found, type) and issubclass(found, Builder)):
        raise DataError(f"{found!r} is no builder of sketches and photos; docs/data.md says how to write one")
    return found


_registered: dict[str, EntryPoint] = {}
