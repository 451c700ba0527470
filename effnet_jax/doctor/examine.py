"""The examination: names, then every file, then what files have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from effnet_jax.doctor.duplicates import check_alike, check_identical
from effnet_jax.doctor.elsewhere import check_elsewhere, measured_photos
from effnet_jax.doctor.findings import Report, in_order
from effnet_jax.doctor.leakage import check_leakage
from effnet_jax.doctor.listing import PHOTO, SKETCH, DataFile, Listing
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
    elsewhere: tuple[DataFile, ...] = ()


def examine(
    listing: Listing,
    published: Published | None = None,
    *,
    elsewhere: Sequence[DataFile] = (),
) -> Examination:
    """Examine a folder or a built set; nothing is written, and no finding stops the search for others.

    Args:
        listing: from `list_folder` or `list_splits`.
        published: what the counts are held to; None for a folder of one's own.
        elsewhere: photos that training sees before or beside, among which no test photo should be.
    """
    names = check_names(listing)
    files = (*listing.files, *elsewhere)
    every = tuple(track(in_threads(look_at, files), total=len(files), description="looking at pictures"))
    looks, others = every[: len(listing.files)], every[len(listing.files) :]
    measured = {file.name for file in measured_photos(listing)}
    counts = {split: (len(listing.part(split, SKETCH)), len(listing.part(split, PHOTO))) for split in listing.splits}
    findings = [
        *listing.findings,
        *names.findings,
        *(finding for look in looks for finding in look.findings),
        *check_identical(looks),
        *check_alike(looks),
        *check_elsewhere([look for look in looks if look.file.name in measured], others),
        *check_leakage(listing),
        *check_counts(counts, published),
    ]
    report = Report(
        listing.root, published.dataset if published else "", counts, len(listing.files), in_order(findings)
    )
    return Examination(report, listing, names, looks, tuple(elsewhere))
