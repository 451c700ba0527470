"""`effnet-jax prepare`: an original archive to the layout of all data sets."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import print_result

EPILOG = """[bold]Examples[/bold]

effnet-jax prepare qmul_shoe_v2 ShoeV2.zip data/qmul_shoe_v2

effnet-jax prepare qmul_chair_v2 ChairV2_unpacked data/qmul_chair_v2 --size 800

effnet-jax check-data data/qmul_shoe_v2"""


def prepare(
    dataset: Annotated[str, typer.Argument(help="qmul_shoe_v2 or qmul_chair_v2.")],
    archive: Annotated[Path, typer.Argument(help="The original archive: a zip file, or a folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write trainA, trainB, testA and testB to; new or empty.")],
    size: Annotated[int, typer.Option(help="Pixels on the longer side of a sketch that is drawn from SVG.")] = 512,
    allow_missing: Annotated[bool, typer.Option(help="Leave out what the archive lacks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Turn an original QMUL V2 archive (photos, SVG sketches, four lists) into trainA, trainB, testA and testB."""
    from effnet_jax.data.problems import DataError
    from effnet_jax.data.qmul_v2 import DATASETS, prepare_qmul_v2
    from effnet_jax.doctor.published import check_counts, published_counts

    if dataset not in DATASETS:
        raise DataError(f"{dataset!r} cannot be prepared; {' and '.join(DATASETS)} can")
    parts, counts = prepare_qmul_v2(archive, out, size=size, allow_missing=allow_missing)
    remarks = [finding.detail for finding in check_counts(counts, published_counts(dataset))]
    written = {split: {"sketches": s, "photos": p} for split, (s, p) in counts.items()}
    result = {"out": str(out), "written": written, "found": list(parts.found), "left_out": list(parts.lacking)}
    lines = [
        *(f"found {line}" for line in parts.found),
        *(f"left out: {line}" for line in parts.lacking),
        *(f"{split}: {sketches} sketches, {photos} photos" for split, (sketches, photos) in counts.items()),
        f"written to {out}",
    ]
    print_result(result | {"remarks": remarks}, lines, as_json=as_json)
    for remark in remarks if not as_json else ():
        print(f"{dataset}, not the published set: {remark}", file=sys.stderr)
