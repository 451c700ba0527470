"""effnet-jax draw: a training folder from photos alone."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import print_result

EPILOG = """
[bold]Examples[/bold]

  effnet-jax draw photos/ --out my_data

  effnet-jax draw photos/ more/ --out my_data --per-photo 3 --pen stroke_loss=0.1,0.4

  python main.py --config configs/folder.py --workdir runs/mine --config.data.dir=my_data

Look at my_data/contact_sheet.png first. To train on photos without writing drawings, take configs/photos_only.py.
"""
SHOWN = 20  # photos that were left out; the others are in the record


def draw(
    photos: Annotated[list[Path], typer.Argument(help="Photos, and folders of photos.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write trainA and trainB to; new or empty.")],
    per_photo: Annotated[int, typer.Option(min=1, help="Drawings of each photo.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other sketches.")] = 0,
    pen: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUES", help="A field of the pen, such as stroke_loss=0.1,0.4; again for more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw sketches from photos, and write both as a training folder.

    Edges become strokes; some are lost, the others are bent and shifted as a hand would. Photos without edges, such as
    blank ones, are left out and named.
    """
    from effnet_jax.config_reader import from_mapping
    from effnet_jax.data.draw_folder import RECORD, SHEET, draw_folder
    from effnet_jax.data.loading import ENOUGH_PHOTOS

    chosen = from_mapping({"pen": dict(_field(text) for text in pen or ())}).pen
    written = draw_folder(photos, out, chosen, per_photo=per_photo, seed=seed)
    result = {
        "out": str(out),
        "photos": written.photos,
        "sketches": written.sketches,
        "left_out": [{"photo": path, "reason": reason} for path, reason in written.left_out],
    }
    lines = [
        f"{written.sketches} sketches of {written.photos} photos in {out}; look at {out / SHEET}",
        *(f"left out: {path}: {reason}" for path, reason in written.left_out[:SHOWN]),
    ]
    if (more := len(written.left_out) - SHOWN) > 0:
        lines.append(f"... and {more} more, listed in {out / RECORD}")
    print_result(result, lines, as_json=as_json)
    if written.photos < ENOUGH_PHOTOS:
        print(
            f"{written.photos} photos are few: training on them needs {ENOUGH_PHOTOS}, some of which are held out. "
            "Add photos of similar things.",
            file=sys.stderr,
        )


def _field(text: str) -> tuple[str, float | tuple[float, ...]]:
    """Read FIELD=NUMBER or FIELD=LOW,HIGH."""
    name, equals, numbers = text.partition("=")
    try:
        values = tuple(float(number) for number in numbers.split(","))
    except ValueError:
        values = ()
    if not (equals and values):
        raise ValueError(f"--pen {text}: give a field and its numbers, such as stroke_loss=0.1,0.4 or shift=5")
    return name, values if len(values) > 1 else values[0]
