"""`effnet-jax compare`: is one run better than another, and by how much."""

from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import print_result

EPILOG = """[bold]Examples[/bold]

effnet-jax compare runs/paper runs/shared

effnet-jax compare paper=runs/a ours=runs/b --out comparison

effnet-jax compare runs/paper_seed0 runs/paper_seed1 runs/shared_seed0 runs/shared_seed1

effnet-jax compare runs/paper runs/shared --markdown >> results.md

Seeds of one configuration become one row. Runs of other queries, galleries or files are refused."""


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Folders of runs, or NAME=FOLDER.")],
    checkpoint: Annotated[
        str, typer.Option(help="Of each run: last, best, best_on_validation, best_on_test, or a step.")
    ] = "last",
    k: Annotated[list[int] | None, typer.Option("-k", help="A K of Acc@K; repeat it. Default: 1, 5 and 10.")] = None,
    per_run: Annotated[bool, typer.Option(help="Keep seeds of one configuration apart.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write comparison.md, comparison.json, curves.png and curves.svg there."),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of text.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Compare runs on the same queries: paired bootstrap and permutation over photos, Acc@K curves with bands."""
    from effnet_jax.comparison.comparison import compare_runs
    from effnet_jax.comparison.curves_plot import draw_curves
    from effnet_jax.comparison.tables import markdown, print_comparison
    from effnet_jax.retrieval.metrics import KS
    from effnet_jax.storage.files import replacing, write_json

    if as_markdown and as_json:
        raise ValueError("choose --markdown or --json")
    comparison = compare_runs(runs, checkpoint=checkpoint, ks=k or KS, per_run=per_run)
    result = comparison.to_dict()
    if out is not None:
        draw_curves(comparison, out / "curves")
        write_json(out / "comparison.json", result)
        with replacing(out / "comparison.md") as temporary:
            temporary.write_text(markdown(comparison), encoding="utf-8")
    if as_json or as_markdown:
        print_result(result, markdown(comparison).splitlines(), as_json=as_json)
    else:
        print_comparison(comparison)
