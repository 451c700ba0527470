"""The report of a run: one HTML file with its figures, numbers, counts, intervals and rules."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effnet_jax.data.split import title_of
from effnet_jax.figures.drawn import Drawn
from effnet_jax.presentation.page import escape, inline, table, write_page
from effnet_jax.retrieval.metrics import Measure
from effnet_jax.runs.folder import Run


def write_report(
    run: str | os.PathLike[str], drawn: Sequence[Drawn], notes: Sequence[str], path: str | os.PathLike[str]
) -> Path:
    """Write the report of a run, pictures inside.

    Args:
        run: folder of an evaluated run.
        drawn: its figures.
        notes: sentences on what could not be drawn.
        path: of the HTML file.
    """
    found = Run(run)
    metrics = found.metrics
    results = metrics["results"]
    first = results[0]
    body = [
        f"<h1>{escape(title_of(first['dataset'], first['split']))}</h1>",
        f'<p class="quiet">run <code>{escape(found.folder)}</code></p>',
        f"<p>{first['queries']} sketches of {first['query_photos']} photos, searched in the whole gallery of "
        f"{first['gallery']} photos of the {escape(first['split'])} split.</p>",
        _results_table(results),
        f'<p class="quiet">The brackets hold intervals ({escape(metrics["intervals"])}). Ties count by their '
        "expectation over random order. The test set chose nothing unless a row says so.</p>",
        *_tag_tables(results),
        *(
            f'<p class="quiet">{escape(note)}</p>'
            for note in dict.fromkeys(n for r in results for n in r.get("notes", ()))
        ),
        *(_figure(figure) for figure in drawn),
    ]
    if notes:
        body += ["<h2>Not drawn</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul>"]
    body += ["<h2>How it was made</h2>", _facts(found, results)]
    return write_page(path, f"{title_of(first['dataset'], first['split'])}: {found.folder.name}", "\n".join(body))


def _results_table(results: Sequence[Any]) -> str:
    ks = [key for key in results[0] if key.startswith("acc@")]
    heads = [
        "checkpoint",
        "protocol",
        *(f"Acc@{key.partition('@')[2]} %" for key in ks),
        "MRR %",
        "mean rank",
        "median",
    ]
    rows = [
        [
            f"{r['selection']}, step {r['checkpoint_step']}",
            r["protocol"],
            *(_measure(r.get(key)) for key in ks),
            _measure(r["mrr"]),
            f"{r['mean_rank']:.2f}",
            f"{r['median_rank']:g}",
        ]
        for r in results
    ]
    return table(heads, rows, text_columns=(1,))


def _tag_tables(results: Sequence[Any]) -> list[str]:
    parts = []
    for r in results:
        if len(r.get("tags", {})) < 2:
            continue
        ks = [key for key in next(iter(r["tags"].values())) if key.startswith("acc@")]
        rows = [[tag, t["queries"], *(_measure(t[key]) for key in ks)] for tag, t in r["tags"].items()]
        heads = ["tag", "sketches", *(f"Acc@{key.partition('@')[2]} %" for key in ks)]
        parts += [
            f"<h3>By tag: {escape(r['selection'])}, {escape(r['protocol'])}</h3>",
            table(heads, rows),
        ]
    return parts


def _measure(measure: Any) -> str:
    return "-" if measure is None else str(Measure(measure["value"], *measure["interval_95"]))


def _figure(figure: Drawn) -> str:
    picture = inline(figure.files[0].read_bytes(), "image/png")
    return (
        f'<h2>{escape(figure.title)}</h2><p>{escape(figure.caption)}</p><div class="figure">'
        f'<img alt="{escape(figure.title)}" src="{picture}"></div>'
        f'<p class="quiet">{", ".join(escape(path.name) for path in figure.files)}</p>'
    )


def _facts(run: Run, results: Sequence[Any]) -> str:
    rows = list({f"{r['split']} split": r["split_sha256"] for r in results}.items())
    rows += [(r["folder"], f"seed {r['seed']}, step {r['checkpoint_step']}") for r in results]
    text = table(["", ""], rows, text_columns=(1,))
    for file, title in ((run.config_file, "Configuration"), (run.versions_file, "Versions and devices")):
        if file.is_file():
            content = escape(file.read_text(encoding="utf-8"))
            text += f"<details><summary>{title}</summary><pre><code>{content}</code></pre></details>"
    return text
