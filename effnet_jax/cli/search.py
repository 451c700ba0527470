"""effnet-jax search: the photos of an index that are most like a sketch."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from effnet_jax.cli.outputs import fail_with, print_result

EPILOG = """
[bold]Examples[/bold]

  effnet-jax search drawing.png --index index/

  effnet-jax search photographed.jpg --clean --index index/ --html found.html

  effnet-jax search drawing.png --rerank --index index/

  effnet-jax search sketches/ --index index/ --top 3 --json > found.json

Exit status: 0 done; 1 a sketch could not be read (the others are searched).
"""
BATCH = 64  # sketches that are held at a time


def search(
    sketches: Annotated[list[Path], typer.Argument(help="Drawings, and folders of drawings.", show_default=False)],
    index: Annotated[Path, typer.Option(help="Folder that effnet-jax embed made.")],
    top: Annotated[int, typer.Option(min=1, help="Photos to list per sketch.")] = 10,
    clean: Annotated[
        bool, typer.Option("--clean", help="The drawings are photographs or scans: make them black on white first.")
    ] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Score the first photos anew, with TRSM or by patches (embed --tokens).")
    ] = False,
    shortlist: Annotated[int, typer.Option(min=1, help="Photos that --rerank scores anew.")] = 100,
    html: Annotated[Path | None, typer.Option(help="Write a page with thumbnails to this file.")] = None,
    block_rows: Annotated[
        int, typer.Option(min=1, help="Photos compared at a time: bounds the memory, about 2 KB each at width 512.")
    ] = 8192,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the photos that are most like a sketch.

    Every photo of the index is compared, and equal scores stand in order of the paths. Photos that are no longer where
    or what they were when they were embedded are found all the same, and marked.
    """
    import numpy as np

    from effnet_jax.catalogue.catalogue import OK, Catalogue, describe
    from effnet_jax.data.scan import find_photos

    there = [path for path in sketches if path.expanduser().exists()]
    found = find_photos(there)
    unreadable = [*found.unreadable, *((str(path), "no such file or folder") for path in sketches if path not in there)]
    catalogue = Catalogue.open(index, block_rows=block_rows)
    options = {"top": top, "clean": clean, "rerank": rerank, "shortlist": max(top, shortlist) if rerank else None}
    options |= {"reranked_by": catalogue.reranked_by} if rerank else {}
    searched, hits = [], []
    for start in range(0, len(found.photos), BATCH):
        batch = [photo.path for photo in found.photos[start : start + BATCH]]
        small, shown = _read(batch, catalogue, clean, html is not None, unreadable)
        if small:
            hits += catalogue.search_resized(np.stack(small), top=top, rerank=rerank, shortlist=shortlist)
        searched += shown
    names = [name for name, _ in searched]
    if html is not None:
        from effnet_jax.catalogue.hits_page import write_hits

        write_hits(html, catalogue, searched, hits, options)
    if as_json:
        queries = [
            {"sketch": name, "hits": [dataclasses.asdict(hit) for hit in its]}
            for name, its in zip(names, hits, strict=True)
        ]
        content = {**describe(catalogue), "options": options, "queries": queries, "unreadable": unreadable}
        print_result(content, (), as_json=True)
    else:
        _print_tables(names, hits)
        if html is not None:
            print(f"page: {html}")
    stale = {hit.path: hit.status for its in hits for hit in its if hit.status != OK}
    for path, status in stale.items():
        print(f"{status} since it was embedded: {path}", file=sys.stderr)
    if stale:
        print(f"bring the index up to date with: effnet-jax embed --out {index}", file=sys.stderr)
    problems = [f"could not be read: {path}: {reason}" for path, reason in unreadable]
    fail_with(problems if searched else [*problems, "not one sketch to search with"])


def _read(
    paths: list[str], catalogue: Any, clean: bool, preview: bool, unreadable: list[tuple[str, str]]
) -> tuple[list[Any], list[tuple[str, Any]]]:
    """Read sketches as the encoder sees them, each with its name and a preview; what cannot be read is listed."""
    from effnet_jax.catalogue.hits_page import preview_of
    from effnet_jax.catalogue.picture import read_picture, reason_of
    from effnet_jax.images.decode import DecodeError

    small, shown = [], []
    for path in paths:
        try:
            picture = read_picture(path, clean=clean)
        except (DecodeError, OSError) as error:
            unreadable.append((path, reason_of(error)))
            continue
        small.append(catalogue.resized(picture))
        shown.append((path, preview_of(picture) if preview else None))
    return small, shown


def _print_tables(names: list[str], hits: list[list[Any]]) -> None:
    """One table per sketch; a long path goes on in the next line and is never cut."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for name, its in zip(names, hits, strict=True):
        table = Table(box=box.SIMPLE_HEAD, title=escape(name), title_justify="left", title_style="bold")
        table.add_column("rank", justify="right")
        table.add_column("score", justify="right")
        table.add_column("photo", overflow="fold")
        for hit in its:
            mark = "" if hit.status == "ok" else f"  [bold red]({hit.status})[/]"
            table.add_row(str(hit.rank), f"{hit.score:.4f}", escape(hit.path) + mark)
        console.print(table)
