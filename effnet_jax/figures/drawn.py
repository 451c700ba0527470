"""What the figures of a run are drawn from, and what a drawn figure is."""

import dataclasses
from functools import cached_property
from pathlib import Path

from effnet_jax.config import Config
from effnet_jax.data.loading import load_splits
from effnet_jax.data.split import Split, split_measured
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.figures.evaluated import Evaluated


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on disk.

    Attributes:
        kind: key of FIGURES.
        title: for the report.
        caption: what it shows, and how its examples were chosen.
        files: PNG first, then SVG.
    """

    kind: str
    title: str
    caption: str
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class FigureSource:
    """What figures are drawn from; data and checkpoint are opened when a figure first needs them."""

    results: Evaluated
    config: Config
    out: Path
    seed: int = 0

    @cached_property
    def split(self) -> Split:
        """The split that was evaluated; its files must be those of then."""
        figures = self.results.figures
        split = load_splits(self.config)[split_measured(figures["split"])]
        if split.sha256 != figures["split_sha256"]:
            raise ValueError(
                f"the files of {figures['dataset']} / {figures['split']} changed since the run was evaluated (split "
                f"hash {figures['split_sha256'][:12]} then, {split.sha256[:12]} now); restore them, or evaluate again."
            )
        return split

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders that were evaluated."""
        return self.results.run.encoders(self.results.step)
