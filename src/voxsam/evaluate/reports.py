"""An evaluation on disk: JSON for programs, CSV for a spreadsheet, Markdown for a document, HTML to look at."""

from __future__ import annotations

import csv
import io as text_io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from voxsam.errors import FormatError
from voxsam.evaluate.calibration import calibrations
from voxsam.evaluate.gallery import computed_with, html_page
from voxsam.evaluate.run import Evaluation
from voxsam.evaluate.scores import Score
from voxsam.evaluate.summary import Estimate, Summary, summarise
from voxsam.io.atomic import atomic_write

__all__ = [
    "SCHEMA",
    "SLICE_COLUMNS",
    "label_cell",
    "markdown_report",
    "markdown_table",
    "scope_table",
    "slice_table",
    "write_reports",
]

SCHEMA = "voxsam-evaluation/1"

Cell = TypeVar("Cell")

#: The columns of the table that says how good a model is on slices, and where they come from.
SLICE_COLUMNS = (
    ("box", "slice-box", "box"),
    ("1 click", "slice-clicks", "1 click"),
    ("3 clicks", "slice-clicks", "3 clicks"),
    ("5 clicks", "slice-clicks", "5 clicks"),
)


def write_reports(evaluation: Evaluation, folder: str | Path) -> tuple[Path, ...]:
    """Write ``evaluation.json``, ``scores.csv``, ``evaluation.md`` and ``evaluation.html``.

    Parameters
    ----------
    evaluation : Evaluation
    folder : str or Path
        Made where it does not exist; files of these names are replaced.

    Returns
    -------
    tuple of Path
        In the order above.

    Raises
    ------
    FormatError
        If the folder or a file cannot be written.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError(f"cannot make the folder {target}: {error.strerror}; choose another output") from error
    summary = summarise(evaluation.scores, seed=evaluation.plan.rules.seed)
    documents = {
        "evaluation.json": json.dumps(_document(evaluation, summary), indent=1),
        "scores.csv": _csv(evaluation.scores),
        "evaluation.md": markdown_report(evaluation, summary),
        "evaluation.html": html_page(evaluation, summary),
    }
    for name, text in documents.items():
        with atomic_write(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return tuple(target / name for name in documents)


def slice_table(summary: Summary, methods: Sequence[str], *, scope: str = "all") -> str:
    """Return the Markdown table of Dice on slices: a box, and one, three and five clicks.

    Parameters
    ----------
    summary : Summary
    methods : sequence of str
    scope : str
    """
    columns = [c for c in SLICE_COLUMNS if any(summary.find(scope, c[1], method, c[2]) for method in methods)]
    rows = [[method, *(_cell(summary.find(scope, c[1], method, c[2])) for c in columns)] for method in methods]
    return markdown_table(["Dice", *(title for title, _, _ in columns)], rows) if columns else ""


def markdown_report(evaluation: Evaluation, summary: Summary) -> str:
    """Return the tables as Markdown."""
    plan = evaluation.plan
    methods = tuple(dict.fromkeys(score.method for score in evaluation.scores))
    counted = {(s.dataset, s.label_name) for s in evaluation.scores if s.counted}
    models = evaluation.models
    pieces = [
        "# Evaluation",
        f"{evaluation.cases} cases, {len({s.target for s in evaluation.scores})} targets, {len(counted)} labels that "
        f"count; seed {plan.rules.seed}; {evaluation.seconds:.0f} s with {evaluation.machine.get('workers', '1')} "
        f"worker(s) on {evaluation.machine.get('processor', 'an unknown processor')}. Means over labels (over targets, "
        "then cases, then labels); in brackets the 95 % interval, patients drawn anew.",
        *(f"{name}: {computed_with(facts)}; weights {facts['weights_sha256']}." for name, facts in models.items()),
    ]
    slices = slice_table(summary, methods)
    if slices:
        pieces += ["## Dice on slices", slices]
    for protocol in plan.protocols:
        pieces.append(f"## {protocol}")
        for scope in summary.scopes:
            table = scope_table(summary, protocol, scope, methods)
            if table:
                pieces += [f"### {_scope_title(summary, scope, protocol)}", table]
        differences = _difference_table(summary, protocol, methods)
        if differences:
            pieces += [f"### {methods[0]} less each other method, paired", differences]
        pieces += ["### By label", _label_table(summary, protocol, methods)]
    quality = _quality_table(evaluation.scores)
    if quality:
        pieces += ["## Predicted against true quality", quality]
    return "\n\n".join(pieces) + "\n"


def _scope_title(summary: Summary, scope: str, protocol: str) -> str:
    counts = [line.estimate for line in summary.lines if line.scope == scope and line.protocol == protocol]
    labels = max(estimate.labels for estimate in counts)
    targets = max(estimate.targets for estimate in counts)
    return f"{scope} ({labels} labels, {targets} targets)"


def scope_table(summary: Summary, protocol: str, scope: str, methods: Sequence[str]) -> str:
    """Return the Markdown table of a protocol over one scope; empty where nothing was measured."""
    columns = summary.columns(protocol)
    rows = []
    for method in methods:
        cells = [summary.find(scope, protocol, method, column) for column in columns]
        if any(cells):
            rows.append([method, *map(_cell, cells)])
    return markdown_table(["", *columns], rows) if rows else ""


def _difference_table(summary: Summary, protocol: str, methods: Sequence[str]) -> str:
    found = {
        (line.method, line.column): line.estimate
        for line in summary.differences
        if line.protocol == protocol and line.scope == "all"
    }
    columns = [column for column in summary.columns(protocol) if any(key[1] == column for key in found)]
    rows = [
        [method, *(_cell(found.get((method, column)), signed=True) for column in columns)]
        for method in methods[1:]
        if any(key[0] == method for key in found)
    ]
    return markdown_table(["less", *columns], rows) if rows else ""


def _label_table(summary: Summary, protocol: str, methods: Sequence[str]) -> str:
    steps = [c for c in summary.columns(protocol) if c in ("box", "1 click", "3 clicks", "5 clicks", "true slice")]
    heads = [(method, step) for step in steps for method in methods]
    rows = []
    for (of, dataset, label), cells in summary.by_label.items():
        if of == protocol:
            found = [cells.get(method, {}).get(step) for method, step in heads]
            rows.append([dataset, label, *map(label_cell, found)])
    kept = [i for i in range(len(heads)) if any(row[i + 2] != "-" for row in rows)]
    header = ["dataset", "label", *(f"{heads[i][1]}, {heads[i][0]}" for i in kept)]
    return markdown_table(header, [[*row[:2], *(row[i + 2] for i in kept)] for row in rows])


def label_cell(estimate: Estimate | None) -> str:
    """Return a mean over a label's cases; with its interval where there is more than one patient; "-" for nothing.

    Examples
    --------
    >>> label_cell(Estimate(0.912, 0.88, 0.937, labels=1, targets=6))
    '0.91 (0.88 to 0.94)'
    >>> label_cell(Estimate(0.912, 0.912, 0.912, labels=1, targets=3))
    '0.91'
    """
    if estimate is None:
        return "-"
    interval = f" ({estimate.low:.2f} to {estimate.high:.2f})" if estimate.low < estimate.high else ""
    return f"{estimate.mean:.2f}{interval}"


def _quality_table(scores: Sequence[Score]) -> str:
    """How a model's own estimates of its quality bear out; empty where there are none."""
    rows = [
        [
            of.method,
            of.protocol,
            of.step,
            f"{of.correlation:.2f}",
            f"{of.bias:+.3f}",
            f"{of.error:.3f}",
            str(of.answers),
        ]
        for of in calibrations(scores)
    ]
    return (
        markdown_table(["", "protocol", "step", "correlation", "bias", "mean error", "answers"], rows) if rows else ""
    )


def _cell(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return "-"
    sign = "+" if signed else ""
    digits = 3 if abs(estimate.mean) < 10 else 1
    return f"{estimate.mean:{sign}.{digits}f} ({estimate.low:{sign}.{digits}f} to {estimate.high:{sign}.{digits}f})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, without a line break at its end."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _csv(scores: Iterable[Score]) -> str:
    file = text_io.StringIO()
    writer = csv.DictWriter(file, Score.columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(score.to_json() for score in scores)
    return file.getvalue()


def _document(evaluation: Evaluation, summary: Summary) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "plan": evaluation.plan.to_json(),
        "machine": evaluation.machine,
        "weights_sha256": {name: facts["weights_sha256"] for name, facts in evaluation.models.items()},
        "models": evaluation.models,
        "seconds": round(evaluation.seconds, 2),
        "cases": evaluation.cases,
        "summary": [line.to_json() for line in summary.lines],
        "differences": [line.to_json() for line in summary.differences],
        "quality": [line.to_json() for line in calibrations(evaluation.scores)],
        "by_label": [
            {
                "protocol": protocol,
                "dataset": dataset,
                "label": label,
                "methods": _each_cell(cells, lambda e: round(e.mean, 4)),
                "intervals": _each_cell(cells, lambda e: [round(e.low, 4), round(e.high, 4)]),
            }
            for (protocol, dataset, label), cells in summary.by_label.items()
        ],
        "by_case": [
            {
                "protocol": protocol,
                "dataset": dataset,
                "case": case,
                "methods": _each_cell(cells, lambda v: round(v, 4)),
            }
            for (protocol, dataset, case), cells in summary.by_case.items()
        ],
    }


def _each_cell(cells: Mapping[str, Mapping[str, Cell]], of: Callable[[Cell], Any]) -> dict[str, dict[str, Any]]:
    return {method: {column: of(held) for column, held in row.items()} for method, row in cells.items()}
