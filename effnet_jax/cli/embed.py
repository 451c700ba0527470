"""effnet-jax embed: photos to an index that a sketch searches."""

from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import fail_with, print_result

EPILOG = """
[bold]Examples[/bold]

  Build an index: effnet-jax embed photos/ --checkpoint runs/mine --out index/

  Look again at the same folders: effnet-jax embed --out index/

  Add a folder: effnet-jax embed more/ --out index/

  Take it out again: effnet-jax embed --forget more/ --out index/

Exit status: 0 every photo was read; 1 some were not (they are listed, the index is written); 130 stopped.
"""


def embed(
    out: Annotated[Path, typer.Option(help="Folder of the index; made, or brought up to date.")],
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos and folders of photos, with all subfolders.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Trained run (its --workdir) or one of its checkpoints; not needed for an index that exists."
        ),
    ] = None,
    choose: Annotated[
        str,
        typer.Option(
            help="Of the run: best (on held-out photos, else last), last, best_on_validation, best_on_test, or a step."
        ),
    ] = "best",
    tokens: Annotated[
        bool | None,
        typer.Option(
            "--tokens/--no-tokens",
            help="Keep the photos' tokens for a later re-ranking: 151 KB per photo with ViT-S.",
            show_default=False,
        ),
    ] = None,
    forget: Annotated[
        list[Path] | None, typer.Option(help="Take this file or folder out of the index; may be repeated.")
    ] = None,
    check_contents: Annotated[
        bool, typer.Option("--check-contents", help="Read every photo again, not only those whose size or time differ.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos encoded at a time.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Embed photos into an index, or bring the index up to date: only what is new goes through the encoder.

    The index remembers its folders and holds what is in them now. It can be stopped or killed at any moment: the old
    index stays until the new one is whole, and the same command goes on where it stopped.
    """
    from effnet_jax.catalogue.build import build_catalogue

    encoders = None
    if checkpoint is not None:
        from effnet_jax.runs.folder import trained_encoders

        encoders = trained_encoders(checkpoint, choose)
    report = build_catalogue(
        photos or [],
        out,
        encoders,
        tokens=tokens,
        forget=forget or [],
        check_contents=check_contents,
        batch_size=batch_size,
    )
    lines = [
        f"{out}: {report.photos:,} photos; {report.added:,} added, {report.removed:,} removed, {report.changed:,} "
        f"changed, {report.moved:,} moved; {report.embedded:,} embedded in {report.seconds:.1f} s"
    ]
    for extension, count in sorted(report.ignored.items()):
        lines.append(f"passed over: {count:,} {'file' if count == 1 else 'files'} with {extension}")
    print_result({"index": str(out.expanduser().absolute()), **vars(report)}, lines, as_json=as_json)
    unreadable = [f"  {path}: {reason}" for path, reason in report.unreadable]
    fail_with([f"{len(unreadable):,} could not be read:", *unreadable] if unreadable else [])
