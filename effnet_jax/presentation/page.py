"""HTML pages that are one file: style and pictures inside, readable anywhere, nothing fetched."""

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from effnet_jax.storage.files import replacing

STYLE = """
:root { --ink: #1b1f24; --grey: #59636e; --line: #d8dee4; --paper: #ffffff; --soft: #f6f8fa; --true: #00785a;
  --warn: #b3450b; --link: #0b5cad; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 32px 24px 64px; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 8px; padding-top: 20px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 6px; }
p { margin: 6px 0 12px; max-width: 82ch; }
a { color: var(--link); }
.quiet { color: var(--grey); font-size: 14px; }
.warn { color: var(--warn); font-weight: 600; }
code { font: 13px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 10px 0 16px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 18px 5px 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--grey); font-size: 14px; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
td.text { text-align: left; white-space: normal; overflow-wrap: break-word; }
.wide { overflow-x: auto; }
.figure { margin: 12px 0 8px; }
.figure img {
  max-width: min(100%, 1100px); height: auto; display: block;
  border: 1px solid var(--line); border-radius: 6px;
}
.query { display: flex; gap: 20px; align-items: flex-start; margin-top: 12px; }
.sketch { flex: 0 0 180px; position: sticky; top: 12px; }
.hits { flex: 1; display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 8px; background: var(--paper); min-width: 0; }
.card .frame { height: 160px; display: flex; align-items: center; justify-content: center; }
.card img, .sketch img { max-width: 100%; max-height: 160px; }
.sketch .card { background: var(--soft); }
.card .name { font-size: 13px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; margin-top: 6px; }
.card .numbers { display: flex; justify-content: space-between; font-size: 13px; color: var(--grey);
  font-variant-numeric: tabular-nums; }
.card .numbers b { color: var(--ink); }
@media (max-width: 700px) { .query { flex-direction: column; } .sketch { position: static; } }
@media print { body { max-width: none; padding: 0; } .sketch { position: static; }
  .card, .figure { break-inside: avoid; } }
"""


def escape(text: object) -> str:
    """Make any text safe inside HTML, attributes included."""
    return html.escape(str(text).encode("utf-8", "replace").decode(), quote=True)


def inline(data: bytes, kind: str) -> str:
    """Give a picture as a data URL; `kind` such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def thumbnail(picture: UInt8[np.ndarray, "h w 3"], edge: int, *, quality: int = 80) -> bytes:
    """Shrink a picture to a JPEG file whose longest edge has `edge` pixels at most; smaller ones keep their size."""
    small = Image.fromarray(picture)
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, text_columns: Sequence[int] = ()) -> str:
    """Lay out a table; numbers stand right, the first column and `text_columns` left."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=text' if i in text_columns else ''}>{escape(x)}</td>" for i, x in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def write_page(path: str | os.PathLike[str], title: str, body: str, *, style: str = "") -> Path:
    """Write a page, whole or not at all.

    Args:
        path: of the file; its folder is made.
        title: plain text, for the browser's tab.
        body: HTML.
        style: CSS after ours.
    """
    path = Path(path).expanduser()
    text = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}{style}</style>\n'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
