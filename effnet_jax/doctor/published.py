"""The published counts of a data set, and whether a folder has them."""

from collections.abc import Mapping
from dataclasses import dataclass

from effnet_jax.doctor.findings import Finding

Counts = Mapping[str, tuple[int, int]]
"""Sketches and photos of each split."""


@dataclass(frozen=True)
class Published:
    """What is known of a data set.

    Attributes:
        dataset: name.
        forms: published counts, by the name of the form.
        variants: other known counts, by what they are.
    """

    dataset: str
    forms: Mapping[str, Counts]
    variants: Mapping[str, Counts]


def published_counts(dataset: str) -> Published | None:
    """What the builder of a data set states; None where there is no such data set or nothing to hold it to."""
    from effnet_jax.data.builders import find_builder
    from effnet_jax.data.problems import DataError

    try:
        builder = find_builder(dataset)
    except DataError:
        return None
    configs = [config for config in builder.BUILDER_CONFIGS if getattr(config, "counts", None)]
    forms = {f"{dataset}/{config.name}": config.counts for config in configs}
    if not forms and builder.COUNTS is not None:
        forms = {dataset: builder.COUNTS}
    return Published(dataset, forms, dict(builder.VARIANTS)) if forms else None


def check_counts(found: Counts, published: Published | None) -> list[Finding]:
    """Hold counts to the published ones."""
    if published is None or any(dict(found) == dict(counts) for counts in published.forms.values()):
        return []
    for what, counts in published.variants.items():
        if dict(found) == dict(counts):
            return [Finding("known variant", (), f"{_show(found)}: {what}")]
    known = "; ".join(f"{name}: {_show(counts)}" for name, counts in {**published.forms, **published.variants}.items())
    return [Finding("counts", (), f"found {_show(found)}; published are {known}")]


def _show(counts: Counts) -> str:
    return ", ".join(f"{name} {sketches} sketches / {photos} photos" for name, (sketches, photos) in counts.items())
