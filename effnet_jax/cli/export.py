"""effnet-jax export: the encoders of a run, for timm and for any program with jax."""

from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import Overwrite, check_outputs, print_result

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "effnet-jax export runs/chairs out                        # safetensors and stablehlo\n\n"
    "effnet-jax export runs/chairs out --format safetensors --checkpoint last"
)


def export(
    workdir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files; made when missing.")],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            help="safetensors (timm's names), stablehlo (needs only jax), onnx, or late (patches, and scores of pairs "
            "by them, as stablehlo); repeat it.",
        ),
    ] = ["safetensors", "stablehlo"],  # noqa: B006
    checkpoint: Annotated[
        str,
        typer.Option(
            help="best (on held-out photos, else the last), last, best_on_validation, best_on_test, or a step."
        ),
    ] = "best",
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print about.json instead of text.")] = False,
) -> None:
    """Write the encoders of a run as .safetensors and as artefacts that run without this package.

    Each artefact is compared with the live encoder before it is kept. The folder can be given as
    --config.model.weights.
    """
    from effnet_jax.encoders.artefacts import export_encoders, one_by_one
    from effnet_jax.encoders.exported import ABOUT
    from effnet_jax.encoders.late_artefacts import FILES, LATE, export_late
    from effnet_jax.runs.folder import trained_encoders

    encoders = trained_encoders(workdir, checkpoint)
    each = one_by_one(encoders)
    usual, late = [suffix for suffix in formats if suffix != LATE], LATE in formats
    names = [f"{encoder.name}.{suffix}" for encoder in each for suffix in usual] + list(FILES if late else ())
    check_outputs([out / name for name in (*names, ABOUT)], overwrite=overwrite)
    besides = export_late(encoders, out) if late else {}
    whole = export_encoders(each, out, formats=usual, about=encoders.origin, besides=besides)
    lines = [f"step {whole['step']} ({whole['selection']}) of {whole['run']}, to {out}:"]
    for name, entry in whole["files"].items():
        size = entry.get("output") or "{backbone}, {mb:.1f} MB, for {domain} images".format(
            mb=entry["bytes"] / 1e6, **entry
        )
        checked = f", off by {entry['off_by_at_most']:.1e}" if "off_by_at_most" in entry else ""
        lines.append(f"  {name}  {size}{checked}")
    lines.append("  about.json  what the files are, and what images must go through")
    print_result(whole, lines, as_json=as_json)
