"""Test photos among those that training sees elsewhere: before (`init_from`) or beside (`data.unpaired_photos`)."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from effnet_jax.data.scan import find_photos
from effnet_jax.doctor.duplicates import alike_pairs, describe_alike, is_blank
from effnet_jax.doctor.findings import Finding
from effnet_jax.doctor.listing import PHOTO, DataFile, Listing
from effnet_jax.doctor.pictures import Look

ELSEWHERE = "elsewhere"  # stands for a split


def list_photos(folder: Path) -> tuple[DataFile, ...]:
    """List the photos of a folder, searched to the bottom, under their whole paths; also files that cannot be read."""
    found = find_photos([folder])
    names = [photo.path for photo in found.photos] + [name for name, _ in found.unreadable]
    paths = [Path(name) for name in names]
    return tuple(DataFile(str(p), ELSEWHERE, PHOTO, p.stem, p.stem, "", p.read_bytes, p) for p in paths)


def measured_photos(listing: Listing) -> list[DataFile]:
    """The photos that figures are on: those of the test, or all of a folder whose test photos are still to be drawn."""
    return listing.part("test" if "test" in listing.splits else "train", PHOTO)


def check_elsewhere(measured: Sequence[Look], elsewhere: Sequence[Look]) -> list[Finding]:
    """Find measured photos that are elsewhere too, with identical pixels or nearly the same; say what was not read."""
    lost = sorted(look.file.name for look in elsewhere if not look.readable)
    notes = [Finding("not compared", tuple(lost))] if lost else []
    copies: dict[bytes, list[Look]] = defaultdict(list)
    for look in elsewhere:
        copies[look.pixels].append(look)
    readable = [look for look in measured if look.views is not None and not is_blank(look)]
    findings = notes + [
        Finding("test photo elsewhere", (look.file.name, *sorted(copy.file.name for copy in copies[look.pixels])))
        for look in readable
        if look.pixels in copies
    ]
    others = [look for look in elsewhere if look.views is not None and not is_blank(look)]
    if not readable or not others:
        return findings
    looks = [*readable, *others]
    for i, j, how, cosine in alike_pairs(np.stack([np.asarray(look.views) for look in looks]), between=len(readable)):
        a, b = looks[i], looks[j]
        if a.pixels != b.pixels:
            findings.append(Finding("alike elsewhere", (a.file.name, b.file.name), describe_alike(how, cosine)))
    return findings
