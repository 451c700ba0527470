"""What a search found, as one HTML page with thumbnails."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from effnet_jax.catalogue.catalogue import CHANGED, MISSING, OK, Catalogue, Hit
from effnet_jax.presentation.page import escape, inline, thumbnail, write_page

PREVIEW = 320  # longest edge of a sketch on the page, pixels
_WORDS = {MISSING: "file is gone", CHANGED: "file was replaced"}


def write_hits(
    path: str | os.PathLike[str],
    catalogue: Catalogue,
    sketches: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"] | bytes]],
    hits: Sequence[Sequence[Hit]],
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page: one row per sketch, its photos in order, each with rank, score and a link to its file.

    Args:
        path: of the HTML file.
        catalogue: where the hits come from.
        sketches: name and picture of each, or what `preview_of` makes of it.
        hits: of each sketch.
        options: the search was made with: `clean`, `rerank`, the `shortlist` that was scored anew, and by what, as
            `reranked_by` of the catalogue says.
    """
    origin = catalogue.encoders.origin
    parts = [
        f"<h1>{len(sketches)} {'sketch' if len(sketches) == 1 else 'sketches'}, {len(catalogue):,} photos</h1>",
        f'<p class="quiet">index <code>{escape(catalogue.folder)}</code>, written '
        f"{escape(catalogue.manifest.written)}, encoders of step {escape(origin.get('step', '?'))} "
        f"({escape(origin.get('selection', '?'))}). {_how(options or {})}</p>",
    ]
    for (name, picture), found in zip(sketches, hits, strict=True):
        shown = inline(picture if isinstance(picture, bytes) else preview_of(picture), "image/jpeg")
        cards = "".join(_card(catalogue, hit) for hit in found)
        parts.append(
            f'<h2>{escape(os.path.basename(name))}</h2><div class="query"><div class="sketch"><div class="card">'
            f'<div class="frame"><img alt="the sketch" src="{shown}"></div>'
            f'<div class="name" title="{escape(name)}">sketch</div></div></div><div class="hits">{cards}</div></div>'
        )
    return write_page(path, "effnet-jax search", "\n".join(parts))


def preview_of(picture: UInt8[np.ndarray, "_ _ 3"]) -> bytes:
    """Shrink a sketch to the JPEG file that the page shows."""
    return thumbnail(picture, PREVIEW)


def _how(options: Mapping[str, Any]) -> str:
    score = "The score is the cosine of sketch and photo; equal scores stand in order of the paths."
    if options.get("rerank"):
        score = (
            f"The first {options['shortlist']:,} photos by the cosine of sketch and photo were scored anew by "
            f"{options['reranked_by']}; the score is that one, and equal scores keep the order of the cosine."
        )
    return score + (" The sketches were cleaned first and are shown so." if options.get("clean") else "")


def _card(catalogue: Catalogue, hit: Hit) -> str:
    note = f'<div class="name warn">{_WORDS[hit.status]}</div>' if hit.status != OK else ""
    picture = inline(catalogue.thumbnail(hit.row), "image/jpeg")
    return (
        f'<div class="card"><a href="{escape(Path(hit.path).as_uri())}" title="{escape(hit.path)}"><div class="frame">'
        f'<img alt="photo {hit.rank}" src="{picture}" loading="lazy"></div></a>'
        f'<div class="name" title="{escape(hit.path)}">{escape(os.path.basename(hit.path))}</div>'
        f'<div class="numbers"><b>{hit.rank}</b><span>{hit.score:.3f}</span></div>{note}</div>'
    )
