"""What training and test share that is not in the pixels: ids and people."""

import re
from collections import defaultdict

from effnet_jax.doctor.findings import Finding
from effnet_jax.doctor.listing import PHOTO, SKETCH, Listing
from effnet_jax.presentation.listed import listed

_VERSION = re.compile(r"[-_ ]v[0-9]+$", re.IGNORECASE)


def check_leakage(listing: Listing) -> list[Finding]:
    """Ids, versions of ids and designers that occur in both splits; nothing where there is only one."""
    if len(listing.splits) < 2:
        return []
    train, test = ({f.stem: f.name for f in listing.part(split, PHOTO)} for split in ("train", "test"))
    shared = sorted(train.keys() & test.keys())
    findings = [Finding("id in both splits", tuple(sorted((train[i], test[i])))) for i in shared]
    versions: dict[str, set[str]] = defaultdict(set)
    for names in (train, test):
        for photo_id in names:
            versions[_VERSION.sub("", photo_id)].add(photo_id)
    for base, ids in sorted(versions.items()):
        inside, outside = ids & train.keys(), ids & test.keys()
        if len(ids) > 1 and inside and outside:
            files = {train[i] for i in inside} | {test[i] for i in outside}
            findings.append(Finding("related ids", tuple(sorted(files)), f"versions of {base}"))
    return findings + _designers(listing)


def tags_are_people(listing: Listing) -> bool:
    """Whether tags tell who drew: not where each photo's tags just count its sketches, 1 to n."""
    tags = defaultdict(set)
    photos = {(file.split, file.stem) for file in listing.files if file.role == PHOTO}
    for file in listing.files:
        if file.role == SKETCH and (file.split, file.photo_id) in photos:
            tags[file.split, file.photo_id].add(file.tag)
    return not all(_count(own) for own in tags.values())


def _count(tags: set[str]) -> bool:
    if not all(tag.isdecimal() for tag in tags):
        return False
    numbers = {int(tag) for tag in tags}
    return numbers == set(range(1, len(numbers) + 1))


def _designers(listing: Listing) -> list[Finding]:
    if not tags_are_people(listing):
        return []
    train, test = ({f.tag for f in listing.part(split, SKETCH) if f.photo_id} for split in ("train", "test"))
    shared = sorted(train & test)
    if not shared:
        return []
    sketches = listing.part("test", SKETCH)
    theirs = sum(file.tag in train for file in sketches)
    return [
        Finding("designers in both splits", (), f"tags {listed(shared, 20)}: {theirs} of {len(sketches)} test sketches")
    ]
