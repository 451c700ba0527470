"""effnet-jax export: the encoders of a run, for timm and for any program with jax."""

import json
from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "effnet-jax export runs/chairs out                        # both formats, best on validation\n\n"
    "effnet-jax export runs/chairs out --format safetensors --checkpoint last"
)


def export(
    workdir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files; made when missing.")],
    formats: Annotated[
        list[str], typer.Option("--format", help="safetensors (timm's names) or stablehlo (needs only jax); repeat it.")
    ] = ["safetensors", "stablehlo"],  # noqa: B006
    checkpoint: Annotated[
        str, typer.Option(help="last, best (on validation), best_on_test, or a step; default: best, else last.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print about.json instead of text.")] = False,
) -> None:
    """Write the encoders of a run as .safetensors and as artefacts that run without this package.

    Each artefact is compared with the live encoder before it is kept.
    """
    from effnet_jax.weights.export import export_encoders
    from effnet_jax.weights.runs import load_run

    encoders, about = load_run(workdir, checkpoint)
    whole = export_encoders(encoders, out, formats=formats, about=about)
    if as_json:
        print(json.dumps(whole, indent=2))
        return
    print(f"step {about['step']} ({about['selection']}) of a run on {about['data']}, to {out}:")
    for name, entry in whole["files"].items():
        checked = f", off by {entry['off_by_at_most']:.1e}" if "off_by_at_most" in entry else ""
        print(f"  {name}  {entry['backbone']}, {entry['bytes'] / 1e6:.1f} MB, for {entry['domain']} images{checked}")
    print("  about.json  what the files are, and what images must go through")
