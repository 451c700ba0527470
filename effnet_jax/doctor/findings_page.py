"""The report as one HTML page with thumbnails, which needs no other file."""

import os
from pathlib import Path

from effnet_jax.doctor.console import summary
from effnet_jax.doctor.examine import Examination
from effnet_jax.doctor.findings import KINDS, Finding
from effnet_jax.doctor.listing import DataFile
from effnet_jax.images.decode import DecodeError, decode_rgb
from effnet_jax.presentation import page
from effnet_jax.presentation.page import escape, inline, table, thumbnail

THUMBNAIL = 144  # pixels on a side
SHOWN = 100  # findings of one kind with thumbnails; the others are named

_STYLE = """
p { margin: .2em 0; max-width: none; } h2 { border: 0; padding: 0; margin: 2em 0 .1em; }
.root { overflow-wrap: anywhere; }
.severity { color: #fff; border-radius: 4px; padding: 0 .5em; margin-right: .5em; }
.fault { background: #a3290f; } .note { background: #59636e; } .none { color: var(--true); font-weight: bold; }
.finding { display: inline-block; vertical-align: top; border: 1px solid var(--line); border-radius: 6px;
  padding: 8px 0 8px 8px; margin: 10px 10px 0 0; background: var(--soft); max-width: 100%; }
figure { display: inline-block; vertical-align: top; margin: 0 8px 0 0; width: 144px; }
figcaption, .detail, .more, .frame { font-size: 12px; overflow-wrap: anywhere; }
.detail, .frame { color: var(--grey); } .detail { max-width: 296px; }
.frame { width: 144px; height: 144px; line-height: 144px; background: #fff; text-align: center; }
.frame img { vertical-align: middle; }
"""


def write_page(path: str | os.PathLike[str], examination: Examination) -> None:
    """Write the page, whole or not at all."""
    report = examination.report
    files = {file.name: file for file in (*examination.listing.files, *examination.elsewhere)}
    name = Path(report.root).name or report.root
    held = f" held against {report.dataset}" if report.dataset else ""
    counts = [(split, *numbers) for split, numbers in report.counts.items()]
    parts = [
        f'<h1>{escape(name)}</h1><p>{summary(report)}</p><p class="quiet root">{escape(report.root + held)}</p>',
        table(["", "sketches", "photos"], counts),
    ]
    for kind, findings in report.by_kind().items():
        severity, meaning, advice = KINDS[kind].severity, escape(KINDS[kind].meaning), escape(KINDS[kind].advice)
        parts.append(f'<h2><span class="severity {severity}">{severity}</span>{meaning} ({len(findings)})</h2>')
        parts.append(f'<p class="quiet">{advice}</p><div>')
        parts += [_finding(finding, files) for finding in findings[:SHOWN]]
        parts.append("</div>")
        if findings[SHOWN:]:
            named = "; ".join(escape(" = ".join(finding.files)) for finding in findings[SHOWN:])
            parts.append(f'<p class="more">without thumbnails: {named}</p>')
    if not report.findings:
        parts.append('<p class="none">Nothing was found.</p>')
    page.write_page(path, f"{name}, {summary(report)}", "\n".join(parts), style=_STYLE)


def _finding(finding: Finding, files: dict[str, DataFile]) -> str:
    figures = "".join(_figure(name, files.get(name)) for name in finding.files)
    detail = f'<div class="detail">{escape(finding.detail)}</div>' if finding.detail else ""
    return f'<div class="finding">{figures}{detail}</div>'


def _figure(name: str, file: DataFile | None) -> str:
    picture = "no picture" if file is None else _thumbnail(file)
    return f'<figure><div class="frame">{picture}</div><figcaption>{escape(name)}</figcaption></figure>'


def _thumbnail(file: DataFile) -> str:
    try:
        small = thumbnail(decode_rgb(file.read()), THUMBNAIL, quality=85)
    except (DecodeError, OSError):
        return "cannot be shown"
    return f'<img src="{inline(small, "image/jpeg")}" alt="">'
