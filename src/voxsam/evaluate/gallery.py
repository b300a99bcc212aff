"""An evaluation as one HTML page: tables, and the worst answers first, with their pictures inside the file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from voxsam.evaluate.pictures import FOUND_RGB, TRUTH_RGB, Picture
from voxsam.evaluate.run import Evaluation
from voxsam.evaluate.summary import Estimate, Summary

__all__ = ["computed_with", "html_page"]

#: Worst answers shown for each protocol and method.
SHOWN = 24

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2733;
  background: #fff }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #dde3ea; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td small { color: #66727f }
td.best { font-weight: 650 }
.wide { overflow-x: auto }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0; background: #10151b; border-radius: 8px; overflow: hidden }
figure img { width: 100%; height: 15rem; object-fit: contain; display: block; image-rendering: pixelated }
figcaption { background: #f3f6f9; padding: .5rem .7rem; font-size: 13px }
figcaption b { font-variant-numeric: tabular-nums; font-size: 15px }
.key span { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .3em 0 1em }
summary { cursor: pointer; font-weight: 600 }
"""


def computed_with(facts: Mapping[str, str]) -> str:
    """Say what a model computed with, from what `voxsam.models.runtime.facts_of` tells.

    Examples
    --------
    >>> computed_with({"backend": "openvino", "precision": "bf16", "device": "cpu", "decoder": "onnxruntime"})
    'openvino in bf16 on cpu, decoder by onnxruntime'
    """
    by = [f"decoder by {facts['decoder']}"] if "decoder" in facts else []
    remarks = [facts["remark"]] if "remark" in facts else []
    return ", ".join([f"{facts['backend']} in {facts['precision']} on {facts['device']}", *by, *remarks])


def html_page(evaluation: Evaluation, summary: Summary) -> str:
    """Return the page: no script, no file beside it.

    Parameters
    ----------
    evaluation : Evaluation
    summary : Summary
    """
    methods = tuple(dict.fromkeys(score.method for score in evaluation.scores))
    body = [
        "<h1>Evaluation</h1>",
        f"<p>{evaluation.cases} cases, {len({s.target for s in evaluation.scores})} targets, seed "
        f"{evaluation.plan.rules.seed}, {evaluation.seconds:.0f} s on "
        f"{escape(evaluation.machine.get('processor', 'an unknown processor'))}. Means over labels; small: the 95 % "
        "interval, patients drawn anew. Labels whose truth a model made are in a table of their own.</p>",
        *(f"<p>{escape(name)}: {escape(computed_with(facts))}.</p>" for name, facts in evaluation.models.items()),
    ]
    for protocol in evaluation.plan.protocols:
        body.append(f"<h2>{escape(protocol)}</h2>")
        for number, scope in enumerate(summary.scopes):
            table = _scope_table(summary, protocol, scope, methods)
            if table and number == 0:
                body.append(f"<h3>{escape(scope)}</h3>{table}")
            elif table:
                body.append(f"<details><summary>{escape(scope)}</summary>{table}</details>")
        body.extend(_worst(evaluation.pictures, protocol, method) for method in methods)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>voxsam evaluation</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _scope_table(summary: Summary, protocol: str, scope: str, methods: Sequence[str]) -> str:
    columns = summary.columns(protocol)
    cells = {(m, c): summary.find(scope, protocol, m, c) for m in methods for c in columns}
    if not any(cells.values()):
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    rows = []
    for method in methods:
        if any(cells[method, column] for column in columns):
            row = "".join(_cell(cells[method, c], [cells[m, c] for m in methods], c) for c in columns)
            rows.append(f"<tr><td>{escape(method)}</td>{row}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _cell(estimate: Estimate | None, rivals: Sequence[Estimate | None], column: str) -> str:
    if estimate is None:
        return "<td>-</td>"
    values = [rival.mean for rival in rivals if rival is not None]
    lower_wins = column.startswith(("NoC", "spoilt", "ended", "seconds"))
    best = estimate.mean == (min(values) if lower_wins else max(values)) and len(values) > 1
    mark = ' class="best"' if best else ""
    return f"<td{mark}>{estimate.mean:.3f} <small>{estimate.low:.2f} to {estimate.high:.2f}</small></td>"


def _worst(pictures: Sequence[Picture], protocol: str, method: str) -> str:
    own = [p for p in pictures if p.score.protocol == protocol and p.score.method == method]
    own = sorted(own, key=lambda picture: picture.score.dice)[:SHOWN]
    if not own:
        return ""
    figures = "".join(_figure(picture) for picture in own)
    colours = "".join(
        f'<span style="background:rgb{colour}"></span>{what}'
        for colour, what in ((TRUTH_RGB, "truth"), (FOUND_RGB, "found"))
    )
    return (
        f"<details><summary>{escape(method)}: the worst {len(own)} after “{escape(own[0].score.step)}”</summary>"
        f'<p class="key">{colours}</p><div class="worst">{figures}</div></details>'
    )


def _figure(picture: Picture) -> str:
    score, data = picture.score, base64.b64encode(picture.png).decode()
    where = f"{score.dataset} {score.case}, {score.plane} {score.index}"
    truth = "" if score.counted else "; truth made by a model"
    return (
        f'<figure><img loading="lazy" alt="{escape(score.label_name)} in {escape(where)}" '
        f'src="data:image/png;base64,{data}"><figcaption><b>{score.dice:.2f}</b> {escape(score.label_name)}<br>'
        f"{escape(where)}{truth}</figcaption></figure>"
    )
