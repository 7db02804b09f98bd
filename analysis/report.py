"""The report of a study: one HTML file that opens offline, made from the tables alone."""

import json
from importlib import resources
from typing import Any

import jinja2

from analysis import cells, report_figures, report_tables, report_text
from analysis.figures import COLOURS
from analysis.statistics import summarize_settings
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES, TABLES


def write_report(root: str) -> str:
    """Write report.html into the study folder `root`, a path or a URI as for ResultStore, and return where it is.

    Broken parts are named in the report.  The same tables give the same file, byte for byte: it is then left alone.
    """
    store = ResultStore(root)
    page = render(store)
    if store.read_text("report.html") != page:
        store.write_text("report.html", page)
    return f"{store.root.rstrip('/')}/report.html"


def render(store: ResultStore) -> str:
    """The report of a study as HTML."""
    searches, epochs, queue, retrains = (store.read(table) for table in (SEARCHES, EPOCHS, QUEUE, RETRAINS))
    study_json = store.read_text("study.json")
    summaries = summarize_settings(searches)
    unended = len(set(epochs["search_id"]) - set(searches["search_id"]))
    accuracy_curves, entropy_curves = report_figures.epoch_figures(searches, epochs)
    names = [*searches["study"], *epochs["study"], *queue["study"], *retrains["study"]]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((resources.files("analysis") / "templates" / "report.html").read_text("utf-8"))
    return template.render(
        study=_study_name(study_json, names, store.root),
        verdict=report_text.verdict(summaries),
        broken=store.broken,
        unended=unended,
        settings=report_tables.settings_table(summaries),
        accuracy_figure=report_figures.accuracy_figure(searches, summaries),
        seeds=report_tables.seeds_table(searches),
        series=[(name, number % len(COLOURS)) for name, number in report_figures.series_numbers(searches).items()],
        has_epochs=len(epochs) > 0,
        accuracy_curves=accuracy_curves,
        entropy_curves=entropy_curves,
        cards=report_figures.cell_cards(searches, queue),
        max_cards=report_figures.MAX_CARDS,
        kinds=cells.KINDS,
        retrains=report_tables.retrains_table(queue, retrains),
        retrained=len(retrains) > 0,
        searches=report_tables.searches_table(searches),
        errors=report_tables.errors_table(searches),
        provenance=report_text.provenance(searches, retrains),
        configuration=_pretty(study_json),
        folder=store.root.rstrip("/"),
        tables=[(table.name, table.description) for table in TABLES],
    )


def _study_name(study_json: str | None, names: list[Any], root: str) -> str:
    """The name that study.json gives, or else the tables, or else the folder."""
    try:
        configuration = json.loads(study_json or "")
    except ValueError:
        configuration = None
    if isinstance(configuration, dict):
        for key in ("name", "study"):
            if isinstance(configuration.get(key), str):
                return str(configuration[key])
    return str(names[0]) if names else root.rstrip("/").rsplit("/", 1)[-1]


def _pretty(study_json: str | None) -> str:
    try:
        return json.dumps(json.loads(study_json or ""), indent=2, ensure_ascii=False)
    except ValueError:
        return study_json or ""
