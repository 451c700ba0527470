"""effnet-jax figures and report: what a run looks like."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet_jax.cli.outputs import fail_with, print_result

if TYPE_CHECKING:
    from effnet_jax.figures.drawn import Drawn

NAMES = "accuracy, grids, similarity, tsne, attention, training"
EPILOG = """
[bold]Examples[/bold]

  effnet-jax figures runs/demo

  effnet-jax figures runs/demo --only tsne --only grids --out paper/

  effnet-jax figures runs/chairs --data-dir ~/data/qmul_chair_v1

Exit status: 0 all drawn, 1 some could not be (it says which and why).
"""
REPORT_EPILOG = """
[bold]Examples[/bold]

  effnet-jax report runs/demo

  effnet-jax report runs/demo --out demo.html --which last

Exit status: 0 done, 1 some figures could not be drawn (the page says which and why).
"""

RunFolder = Annotated[Path, typer.Argument(help="Folder of a trained and evaluated run.", show_default=False)]
Which = Annotated[
    str | None,
    typer.Option(
        help="Evaluation to show, such as last, best_on_test or last_rerank. Default: best_on_validation, else last."
    ),
]
DataDir = Annotated[str | None, typer.Option(help="Where the data set's folder is now, if it moved.")]
TfdsDir = Annotated[str | None, typer.Option(help="Where built data sets are now, if they moved.")]


def figures(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the files. Default: figures/ in the run, figures/WHICH/ for --which."),
    ] = None,
    which: Which = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Draw this one only; may be repeated: {NAMES}.")] = None,
    data_dir: DataDir = None,
    tfds_dir: TfdsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was drawn as JSON.")] = False,
) -> None:
    """Draw the figures of a run, as PNG and SVG, from its saved embeddings and ranks and its checkpoint."""
    from effnet_jax.figures.all_figures import draw_figures

    drawn, notes = draw_figures(run, out=out, name=which, only=only or (), data_dir=data_dir, tfds_dir=tfds_dir)
    lines = [f"{figure.title}: {', '.join(map(str, figure.files))}" for figure in drawn]
    print_result(_described(drawn, notes), lines, as_json=as_json)
    fail_with(notes)


def report(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option(help="The HTML file. Default: report.html in the run.")] = None,
    which: Which = None,
    data_dir: DataDir = None,
    tfds_dir: TfdsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where the page is and what is in it as JSON.")] = False,
) -> None:
    """Draw all figures of a run and put them, with every number and how it was measured, into one HTML file."""
    from effnet_jax.figures.all_figures import draw_figures
    from effnet_jax.figures.report_page import write_report
    from effnet_jax.runs.folder import Run

    drawn, notes = draw_figures(run, name=which, data_dir=data_dir, tfds_dir=tfds_dir)
    path = write_report(run, drawn, notes, out or Run(run).page)
    print_result({"report": str(path), **_described(drawn, notes)}, [f"report: {path}"], as_json=as_json)
    fail_with(notes)


def _described(drawn: "list[Drawn]", notes: list[str]) -> dict[str, Any]:
    listed = [
        {"figure": d.kind, "title": d.title, "caption": d.caption, "files": [str(f) for f in d.files]} for d in drawn
    ]
    return {"figures": listed, "notes": notes}
