"""Sections of the report about results: settings, seeds, epochs, cells, retrained networks."""

from analysis import cells, report_figures, report_tables, report_text
from analysis.page import Block, Figure, Legend, Section, Text
from analysis.report_text import number
from analysis.study_data import StudyData

KINDS = tuple((name, f"var(--cell-{kind})") for kind, name in cells.KINDS.items())
"""Names and CSS colours of the kinds of operations, as a legend."""


def verdict(data: StudyData) -> list[str]:
    """The outcome in up to three sentences."""
    return report_text.verdict(data.summaries)


def sections(data: StudyData) -> list[Section]:
    """The sections in their order; each stands also where the study has nothing to show in it."""
    return [_settings(data), _seeds(data), _epochs(data), _cells(data), _retrained(data)]


def _settings(data: StudyData) -> Section:
    table = report_tables.settings_table(data.summaries)
    note = "n counts searches with a result, one for every seed; only these enter the statistics. "
    blocks: list[Block] = [Text(text="No search has ended yet.")]
    if table.rows:
        blocks = [table, Text(text=note + "Standard deviations are of the sample.", style="note")]
    return Section(id="settings", title="Settings", blocks=tuple(blocks))


def _seeds(data: StudyData) -> Section:
    table = report_tables.seeds_table(data.searches)
    blocks: list[Block] = [Text(text="No search has completed yet.")]
    if table.rows:
        caption = (
            "One dot for every search with a result. Bars span one standard deviation to either side of the mean, "
            "which the upright tick marks."
        )
        svg = report_figures.accuracy_figure(data.searches, data.summaries)
        blocks = [Figure(caption=caption, svg=svg, table=table)]
    return Section(id="seeds", title="Accuracy of every seed", short="Seeds", blocks=tuple(blocks))


def _epochs(data: StudyData) -> Section:
    blocks: list[Block] = [Text(text="No epoch has been recorded yet.")]
    if len(data.epochs):
        accuracy, entropy = report_figures.epoch_figures(data.searches, data.epochs)
        legend = report_figures.legend(data.searches)
        blocks = [
            Figure(caption="Validation accuracy of every search.", svg=accuracy, legend=legend, half=True),
            Figure(caption="Entropy of softmax(alpha); reduction cell dashed.", svg=entropy, half=True),
        ]
    return Section(id="epochs", title="Over the epochs", short="Epochs", blocks=tuple(blocks))


def _cells(data: StudyData) -> Section:
    cards = report_figures.cell_cards(data.searches, data.queue)
    blocks: list[Block] = [Legend(entries=KINDS), *cards] if cards else [Text(text="No cell has been found yet.")]
    if len(cards) == report_figures.MAX_CARDS:
        text = f"At most {number(len(cards), 0)} cells are drawn; the tables below name all."
        blocks.append(Text(text=text, style="note"))
    return Section(id="cells", title="Best cells", short="Cells", blocks=tuple(blocks))


def _retrained(data: StudyData) -> Section:
    blocks: list[Block] = []
    if not len(data.retrains):
        blocks.append(Text(text="No retraining has ended yet, so this study has no test accuracy."))
    table = report_tables.retrains_table(data.queue, data.retrains)
    if table.rows:
        note = "Retrained validation accuracy picked the epoch; the test set was measured once, at the end."
        blocks += [table, Text(text=note, style="note")]
    return Section(id="retrained", title="Retrained networks", short="Retrained", blocks=tuple(blocks))
