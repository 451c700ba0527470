"""The examination: names, then every file, then what files have in common."""

from dataclasses import dataclass

from effnet_jax.doctor.duplicates import check_alike, check_identical
from effnet_jax.doctor.findings import Report, in_order
from effnet_jax.doctor.leakage import check_leakage
from effnet_jax.doctor.listing import PHOTO, SKETCH, Listing
from effnet_jax.doctor.name_faults import Names, check_names
from effnet_jax.doctor.pictures import Look, look_at
from effnet_jax.doctor.published import Published, check_counts
from effnet_jax.runtime.progress import in_threads, track


@dataclass(frozen=True)
class Examination:
    """A report, and what it rests on, for those who repair or show the data."""

    report: Report
    listing: Listing
    names: Names
    looks: tuple[Look, ...]


def examine(listing: Listing, published: Published | None = None) -> Examination:
    """Examine a folder or a built set; nothing is written, and no finding stops the search for others.

    Args:
        listing: from `list_folder` or `list_splits`.
        published: what the counts are held to; None for a folder of one's own.
    """
    names = check_names(listing)
    looking = in_threads(look_at, listing.files)
    looks = tuple(track(looking, total=len(listing.files), description="looking at pictures"))
    counts = {split: (len(listing.part(split, SKETCH)), len(listing.part(split, PHOTO))) for split in listing.splits}
    findings = [
        *listing.findings,
        *names.findings,
        *(finding for look in looks for finding in look.findings),
        *check_identical(looks),
        *check_alike(looks),
        *check_leakage(listing),
        *check_counts(counts, published),
    ]
    report = Report(
        listing.root, published.dataset if published else "", counts, len(listing.files), in_order(findings)
    )
    return Examination(report, listing, names, looks)
