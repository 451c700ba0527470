"""The report as one HTML page with thumbnails, which needs no other file."""

import base64
import io
import os
from html import escape
from pathlib import Path

from PIL import Image

from effnet_jax.data.decode import DecodeError, decode_rgb
from effnet_jax.data.doctor.console import summary
from effnet_jax.data.doctor.examine import Examination
from effnet_jax.data.doctor.findings import KINDS, Finding
from effnet_jax.data.doctor.listing import DataFile
from effnet_jax.files import replacing

THUMBNAIL = 144  # pixels on a side
SHOWN = 100  # findings of one kind with thumbnails; the others are named

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1180px; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: .2em; } h2 { font-size: 1.1em; margin: 2em 0 .1em; }
p { margin: .2em 0; } .advice, .root { color: #57606a; } .root { overflow-wrap: anywhere; }
.severity { display: inline-block; color: #fff; border-radius: 4px; padding: 0 .5em; margin-right: .5em; }
.fault { background: #a3290f; } .note { background: #57606a; } .none { color: #00785a; font-weight: bold; }
.finding { display: inline-block; vertical-align: top; border: 1px solid #d8dee4; border-radius: 6px;
           padding: 8px 0 8px 8px; margin: 10px 10px 0 0; background: #f6f8fa; max-width: 100%; }
figure { display: inline-block; vertical-align: top; margin: 0 8px 0 0; width: 144px; }
figcaption, .detail { font-size: 12px; overflow-wrap: anywhere; }
.detail { color: #57606a; max-width: 296px; }
.frame { width: 144px; height: 144px; line-height: 144px; background: #fff; font-size: 12px; color: #57606a;
         text-align: center; } .frame img { vertical-align: middle; }
table { border-collapse: collapse; margin: .8em 0; } td, th { padding: .1em 1em .1em 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } .more { font-size: 12px; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #161b22; color: #e6edf3; }
  .finding { background: #0d1117; border-color: #30363d; } .advice, .root, .detail { color: #9198a1; }
  .none { color: #3fb68b; } }
"""


def write_page(path: str | os.PathLike[str], examination: Examination) -> None:
    """Write the page, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(_page(examination), encoding="utf-8")


def _page(examination: Examination) -> str:
    report = examination.report
    files = {file.name: file for file in examination.listing.files}
    name = escape(Path(report.root).name or report.root)
    held = f" held against {escape(report.dataset)}" if report.dataset else ""
    rows = "".join(
        f"<tr><td>{split}</td><td>{sketches}</td><td>{photos}</td></tr>"
        for split, (sketches, photos) in report.counts.items()
    )
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{name}, {summary(report)}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{_STYLE}</style></head><body>",
        f'<h1>{name}</h1><p>{summary(report)}</p><p class="root">{escape(report.root)}{held}</p>',
        f"<table><tr><th></th><th>sketches</th><th>photos</th></tr>{rows}</table>",
    ]
    for kind, findings in report.by_kind().items():
        severity, meaning, advice = KINDS[kind].severity, escape(KINDS[kind].meaning), escape(KINDS[kind].advice)
        parts.append(f'<h2><span class="severity {severity}">{severity}</span>{meaning} ({len(findings)})</h2>')
        parts.append(f'<p class="advice">{advice}</p><div>')
        parts += [_finding(finding, files) for finding in findings[:SHOWN]]
        parts.append("</div>")
        if findings[SHOWN:]:
            named = "; ".join(escape(" = ".join(finding.files)) for finding in findings[SHOWN:])
            parts.append(f'<p class="more">without thumbnails: {named}</p>')
    if not report.findings:
        parts.append('<p class="none">Nothing was found.</p>')
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _finding(finding: Finding, files: dict[str, DataFile]) -> str:
    figures = "".join(_figure(name, files.get(name)) for name in finding.files)
    detail = f'<div class="detail">{escape(finding.detail)}</div>' if finding.detail else ""
    return f'<div class="finding">{figures}{detail}</div>'


def _figure(name: str, file: DataFile | None) -> str:
    picture = "no picture" if file is None else _thumbnail(file)
    return f'<figure><div class="frame">{picture}</div><figcaption>{escape(name)}</figcaption></figure>'


def _thumbnail(file: DataFile) -> str:
    try:
        image = Image.fromarray(decode_rgb(file.read()))
    except (DecodeError, OSError):
        return "cannot be shown"
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="" width="{image.width}" height="{image.height}">'
