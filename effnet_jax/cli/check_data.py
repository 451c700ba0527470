"""`effnet-jax check-data`: examine a folder of sketches and photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effnet_jax.cli.outputs import print_result

if TYPE_CHECKING:
    from effnet_jax.doctor.listing import DataFile, Listing

EPILOG = """[bold]Examples[/bold]

effnet-jax check-data my_data --html report.html

effnet-jax check-data qmul_shoe_v2

effnet-jax check-data my_data --fix my_data_clean

effnet-jax check-data my_data --against photos/

effnet-jax check-data my_data --json > findings.json

The exit status is 1 where faults were found; with --fix: 1 where faults are left in the copy. Notes never fail."""


def check_data(
    target: Annotated[
        str, typer.Argument(metavar="DIR|DATASET", help="A folder with trainA, trainB, ..., or the name of a data set.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Hold the counts to those of this data set. Default: the one the folder is named after."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with thumbnails.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a cleaned copy; DIR is new or empty.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|DATASET", help="Photos that are trained on before or beside: are test photos among them?"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    every_note: Annotated[bool, typer.Option("--all", help="List every note, not the first of each kind.")] = False,
    tfds_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Where built data sets are kept.")] = None,
) -> None:
    """Examine a sketch-photo folder: names, pairs, pictures, duplicates, what training and test share."""
    import warnings

    from PIL import Image

    from effnet_jax.data.problems import DataError
    from effnet_jax.doctor import examine, list_folder
    from effnet_jax.doctor.clean_copy import write_clean_copy
    from effnet_jax.doctor.console import describe_copy, print_report
    from effnet_jax.doctor.findings_page import write_page
    from effnet_jax.doctor.published import published_counts

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is a finding
    listing = _find(target, tfds_dir)
    named_after = Path(target).resolve().name if Path(target).is_dir() else target.partition("/")[0]
    published = published_counts(dataset or named_after)
    if dataset and published is None:
        raise DataError(f"there are no published counts for --dataset={dataset}")
    elsewhere = () if against is None else _photos_of(against, tfds_dir)
    examination = examine(listing, published, elsewhere=elsewhere)
    report = examination.report
    result = report.to_dict()
    if not as_json:
        print_report(report, every_note=every_note)
    if html is not None:
        write_page(html, examination)
    if fix is not None:
        fates = write_clean_copy(examination, fix)
        report = examine(list_folder(fix), elsewhere=elsewhere).report
        result["copy"] = report.to_dict()
        if not as_json:
            print(f"\n{fix}: {describe_copy(fates)}; cleaned.json there says why")
            print_report(report)
    print_result(result, (), as_json=as_json)
    if report.faults:
        raise typer.Exit(1)


def _photos_of(target: str, tfds_dir: str | None) -> "tuple[DataFile, ...]":
    """The training photos of a data set, or all photos of a folder that is none."""
    from dataclasses import replace

    from effnet_jax.doctor.elsewhere import list_photos
    from effnet_jax.doctor.listing import PHOTO

    if Path(target).is_dir() and not (Path(target) / "trainB").is_dir():
        return list_photos(Path(target))
    listing = _find(target, tfds_dir)
    return tuple(replace(file, name=f"{listing.root}/{file.name}") for file in listing.part("train", PHOTO))


def _find(target: str, tfds_dir: str | None) -> "Listing":
    """The folder of that name; else the source folder of that data set; else its built set."""
    from effnet_jax.data.builders import find_builder
    from effnet_jax.data.loading import load_split, source_places, tfds_root
    from effnet_jax.data.problems import DataError
    from effnet_jax.doctor.listing import list_folder, list_splits

    if Path(target).is_dir():
        return list_folder(target)
    name = target.partition("/")[0]
    try:
        builder = find_builder(name)
    except DataError as error:
        raise DataError(f"{target} is not a folder, and {error}") from error
    if builder.generated() is None:
        places = source_places(name, None, tfds_root(tfds_dir))
        source = next((path for path in places.values() if path is not None and path.is_dir()), None)
        if source is not None:
            return list_folder(source)
    return list_splits(target, {split: load_split(target, split, tfds_dir=tfds_dir) for split in ("train", "test")})
