"""The report of a study, made from its tables: an HTML file that works offline, Markdown, or CSV files."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from analysis.conclusions.sentences import counted
from analysis.figures import page_spec, spec_json, unchecked, vega_script
from analysis.report import practice, reproduce, searches
from analysis.report.data_sets import packed
from analysis.report.formats import FORMATS, Format, csv_files, markdown
from analysis.sections import (
    agreement,
    cells,
    collapse,
    comparisons,
    decisions,
    epoch_curves,
    one_shot,
    overview,
    retrained,
    sampling_rates,
)
from analysis.sections.blocks import Chart, Number, Report, Section
from analysis.store import ResultStore
from analysis.study_data import StudyData
from pcdarts.training.atomic_write import replace_file

AXIS_HEIGHT = 48
"""Height that a page reserves below the plot of a chart, in pixels."""
CSV_FOLDER = "report-csv"
SECTIONS = (
    comparisons.section,
    retrained.section,
    one_shot.section,
    collapse.section,
    decisions.section,
    epoch_curves.section,
    sampling_rates.section,
    cells.section,
    agreement.section,
    searches.section,
)
"""What makes the sections between the overview and the checklist, in their order."""


def write_report(root: str, form: Format = "html", report: Report | None = None, out: str = "") -> str:
    """Write the report into the study folder `root`, a path or a URI as for ResultStore, and return where it is.

    html: report.html; md: report.md; csv: the folder report-csv/, one file per table.  The report lists files that
    cannot be read.  The same tables give the same file, byte for byte, which is then not rewritten.  `report`
    is that of the study, if it was read already.  `out`, a local file, or for csv a folder, takes it instead of the
    study's folder.  Raises ValueError for an unknown format.
    """
    if form not in FORMATS:
        raise ValueError(f"format of a report is {form!r}, but must be one of {', '.join(FORMATS)}")
    store = ResultStore(root)
    report = report or build(StudyData(store=store))
    folder = store.root.rstrip("/")
    if form == "csv":
        files = csv_files(report)
        if not out:
            store.write_texts(CSV_FOLDER, files)
        for name, text in files.items() if out else ():  # others there are the user's
            replace_file(Path(out, name), text.encode())
        return out or f"{folder}/{CSV_FOLDER}"
    name, text = f"report.{form}", page(report) if form == "html" else markdown(report)
    if out:
        replace_file(out, text.encode())
    elif store.read_text(name) != text:
        store.write_text(name, text)
    return out or f"{folder}/{name}"


def read_report(root: str) -> Report:
    """The report of the study in a folder, a path or a URI as for ResultStore."""
    return build(StudyData(store=ResultStore(root)))


def build(data: StudyData) -> Report:
    """The report of a study, independent of its format."""
    found = data.conclusions
    results = [make(data) for make in SECTIONS]
    sections = (overview.section(found, data.images, data.flips), *results, _practice(data), reproduce.section(data))
    unended = len(set(data.epochs["search_id"].unique()) - set(data.searches["search_id"]))
    notes = [found.next_step] if found.next_step else []
    if unended:
        have = "has" if unended == 1 else "have"
        notes.append(
            f"{counted(unended, 'search', 'searches')} {have} reported epochs but not finished; only the training "
            "curves show them."
        )
    return Report(
        title=_study_name(data),
        verdict=found.verdict,
        notes=tuple(notes),
        broken=tuple(data.store.broken),  # after everything was read
        sections=sections,
    )


def page(report: Report) -> str:
    """The report as one HTML file with its styles and scripts; it loads nothing else."""
    charts = report.charts()
    scripts = [vega_script(), _template("report.js") + _template("charts.js")] if charts else [_template("report.js")]
    specs = page_specs(charts)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"sort_key": _sort_key, "prose": _prose, "sha256": _sha256}
    return environment.from_string(_template("report.html")).render(
        report=report,
        style=Markup(_template("report.css")),
        specs=Markup(spec_json(specs)) if specs else "",
        heights={id: spec["height"] + AXIS_HEIGHT for id, spec in specs.items()},
        # The content security policy allows only these scripts: an injected one could not run even unescaped.
        scripts=[Markup(script) for script in scripts],
    )


def page_specs(charts: Sequence[Chart]) -> dict[str, Any]:
    """The specification of each chart by its id, with packed data sets."""
    if not charts:
        return {}
    with unchecked():
        return {chart.id: packed(page_spec(chart.draw(chart.frame))) for chart in charts}


def _template(name: str) -> str:
    return (resources.files("analysis.report") / "templates" / name).read_text("utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _prose(text: str) -> Markup:
    """Text as HTML, `code` between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sort_key(cell: str) -> str | None:
    """Sort key of a number's cell: the unrounded number, or empty if missing; None for text."""
    if not isinstance(cell, Number):
        return None
    value = cell.values[0]
    return "" if value != value else f"{value:.10g}"


def _practice(data: StudyData) -> Section:
    described = bool(data.description.get("command"))
    return practice.section(practice.good_practice(data.searches, data.retrains, described=described))


def _study_name(data: StudyData) -> str:
    """Name of the study from study.json, else from the tables, else from the folder."""
    for key in ("name", "study"):
        if isinstance(data.description.get(key), str):
            return str(data.description[key])
    for table in (data.searches, data.epochs, data.queue, data.retrains):
        if len(table):
            return str(table["study"].iloc[0])
    return data.store.root.rstrip("/").rsplit("/", 1)[-1]
