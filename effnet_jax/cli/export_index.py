"""effnet-jax export-index: an index as one .npz file."""

from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import print_result

EPILOG = """
[bold]Examples[/bold]

  effnet-jax export-index index/ vectors.npz

  effnet-jax export-index index/ half.npz --dtype float16

The file holds embeddings (unit norm), paths, sha256 (of each photo's file) and fingerprint (of the encoders).
"""


def export_index(
    index: Annotated[Path, typer.Argument(help="Folder that effnet-jax embed made.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The .npz file to write.", show_default=False)],
    dtype: Annotated[str, typer.Option(help="Of the embeddings: float32 or float16 (as stored).")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the embeddings, paths and content hashes of an index to one .npz file, for a vector database."""
    from effnet_jax.catalogue.catalogue import Catalogue
    from effnet_jax.catalogue.vectors import export_catalogue

    catalogue = Catalogue.open(index)
    path = export_catalogue(catalogue, out, dtype=dtype)
    photos, width = len(catalogue), catalogue.manifest.width
    result = {"file": str(path), "photos": photos, "width": width, "dtype": dtype}
    print_result(result, [f"{path}: {photos:,} photos, {width} numbers each, {dtype}"], as_json=as_json)
