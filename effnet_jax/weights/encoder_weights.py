"""One encoder of a file of weights, and how its tensors become our parameters."""

import dataclasses
import logging

from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.trees import Tree, depths_of, flatten, shapes_of
from effnet_jax.weights.errors import WeightsError, refusing
from effnet_jax.weights.lay import lay
from effnet_jax.weights.names.published_names import effnet_mstr
from effnet_jax.weights.names.targets import Table, Target, below, linear
from effnet_jax.weights.recognise import Recognised

log = logging.getLogger(__name__)
RECYCLING = "recycling"  # MSTR, which no other library has: our own names behind this


@dataclasses.dataclass(frozen=True)
class EncoderWeights:
    """One encoder in a file.

    Attributes:
        domain: "sketch", "photo", or "" where the file has one encoder for anything.
        found: its tensors, and whose names they have.
        config: architecture, without the embedding size where there is no head.
        preprocessing: what its images must go through.
        preprocessing_source: how that is known.
        where: file, for messages.
        assumed: fields of the configuration that nothing tells.
    """

    domain: str
    found: Recognised
    config: ModelConfig
    preprocessing: Preprocessing
    preprocessing_source: str
    where: str
    assumed: tuple[str, ...] = ()

    @property
    def lacks_transformers(self) -> bool:
        """Whether it is one of the authors' with MSTR, whose code never saved the transformers of it."""
        start = self.found.recycling
        return start is not None and not any(n.startswith(f"{start}transformer_models.") for n in self.found.tensors)

    def lay(self, params: Tree, batch_stats: Tree, *, head: bool = True, whole: bool = False) -> tuple[Tree, Tree]:
        """Lay the tensors into the parameters and statistics of an encoder.

        Args:
            params: of the encoder, or their shapes: `backbone`, `head` and, with token recycling, `recycling`.
            batch_stats: `backbone`, where there are statistics.
            head: take the embedding head along, where the file has one.
            whole: token recycling must be in the file, where the encoder has it; else what is not there is left out,
                which is said where the file has a part of it.

        Returns:
            Parameters and statistics, as far as the file has them.

        Raises:
            WeightsError: every tensor that is missing, unexpected, misshapen or not finite.
        """
        found = self.found
        wanted = {"backbone": params["backbone"]}
        table = below("backbone", found.table(depths_of(params["backbone"])))
        if head and found.head is not None:
            wanted["head"] = params["head"]
            table |= linear(found.head, ("head",))
        published = found.recycling is not None
        recycles = published or any(name.startswith(f"{RECYCLING}.") for name in found.tensors)
        if RECYCLING in params and (recycles or whole):
            wanted[RECYCLING] = params[RECYCLING]
            if self.lacks_transformers:
                self._say_what_lacks(refuse=whole)
                wanted[RECYCLING] = {"mix": params[RECYCLING]["mix"]}
            names = effnet_mstr(found.recycling or "", transformers=not self.lacks_transformers)
            table |= below(RECYCLING, names) if published else recycling_table(params[RECYCLING])
        stats = {"backbone": batch_stats.get("backbone", {})}
        try:
            with refusing(self.where):
                source = f"{self.where} ({found.source})"
                laid, statistics = lay(found.tensors, table, wanted, stats, source=source, ignored=found.ignored)
        except WeightsError as error:
            raise WeightsError(f"{error}{self._way_out(wanted, recycles)}") from error
        return laid, statistics

    def _say_what_lacks(self, *, refuse: bool) -> None:
        what = f"{self.where} lacks the transformers of MSTR (token recycling), which the authors' code never saved"
        if refuse:
            raise WeightsError(
                f"{what}, so that no embedding of theirs can be had from it. Train them (model.weights=FILE with "
                "model.token_recycling=true), or take random ones: load_encoder(FILE, random_recycling=True)."
            )
        log.warning("%s. They start from random numbers, as they did at each start there.", what)

    def _way_out(self, wanted: Tree, recycles: bool) -> str:
        """Say which fields of the configuration would make the tensors fit."""
        fields = []
        size = self.found.rows(f"{self.found.head}.weight")
        if "head" in wanted and size not in (0, wanted["head"]["kernel"].shape[-1]):
            fields.append(f"model.embedding_size={size}")
        if recycles and RECYCLING not in wanted:
            fields.append("model.token_recycling=true")
        elif recycles and "transformers" in wanted[RECYCLING]:
            hidden = wanted[RECYCLING]["transformers"][0][0]["fc1"]["kernel"].shape[-1]
            if self.config.recycling_hidden != hidden:
                fields.append(f"model.recycling_hidden={self.config.recycling_hidden}")
        return f"\nThe file needs {' and '.join(fields)}." if fields else ""


def recycling_table(params: Tree) -> Table:
    """Name the tensors of MSTR by their places in our parameters."""
    return {".".join((RECYCLING, *map(str, path))): Target((RECYCLING, *path)) for path in flatten(params)}


def encoder_tree(weights: EncoderWeights, *, head: bool = True, whole: bool = True) -> tuple[Tree, Tree]:
    """Lay an encoder of a file into trees of its own size: parameters (with `head` where there is one), statistics.

    Args:
        weights: the encoder.
        head: take the embedding head along, where the file has one.
        whole: token recycling must be in the file, where the encoder has it.

    Raises:
        WeightsError: every tensor that does not fit.
    """
    with refusing(weights.where):
        params, stats = shapes_of(weights.config)
        return weights.lay(params, stats, head=head, whole=whole)
