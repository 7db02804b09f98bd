"""Sections of the report about results, in their order: from the settings to the retrained networks."""

import math

import numpy as np
import pandas as pd

from analysis.drawing.cell_layout import KINDS
from analysis.drawing.rows import MAX_DOTS
from analysis.sections import epoch_curves, figures, found_cells, result_tables, retrained, sampling_rates, wording
from analysis.sections.blocks import Block, Figure, Legend, Section, Text
from analysis.sections.found_cells import SettingCells
from analysis.sections.study_data import StudyData
from analysis.sections.wording import row_dicts
from analysis.statistics.bootstrap import stratified_bootstrap
from analysis.statistics.comparison import compare_settings, critical_difference
from analysis.statistics.correlation import alpha_rank_correlation
from analysis.statistics.retrained_cells import cell_stages, stage_correlations
from analysis.statistics.summaries import WITH_RESULT, final_jobs, rank_searches

LEGEND = tuple((name, f"var(--cell-{kind})") for kind, name in KINDS.items())
"""Names and CSS colors of the kinds of operations, as a legend."""
MAX_PAIRED = 5
"""Settings that are compared in all pairs; of more, each with the best."""
MAX_ALPHAS = 60
"""Searches whose alphas are read: they are most of a large study."""
MAX_ALPHAS_OF_SETTING = 10
"""Searches of one setting whose alphas are compared, the first by seed."""


def result_sections(data: StudyData) -> list[Section]:
    """The sections in their order; those with nothing to show say so."""
    found = found_cells.setting_cells(data.searches, data.summaries)
    architectures = _architectures(data)
    return [
        _settings(data, found),
        _comparisons(data),
        _seeds(data),
        _epochs(data, architectures),
        _rates(data),
        _cells(data),
        _agreement(data, found, architectures),
        _retrained(data),
    ]


def _settings(data: StudyData, found: list[SettingCells]) -> Section:
    table = result_tables.settings_table(data.summaries, found)
    if not table.rows:
        return Section(id="settings", title="Settings", blocks=(Text(text="No search has finished yet."),))
    blocks: list[Block] = [table]
    scored = data.searches[data.searches["status"].isin(WITH_RESULT)]
    pooled = stratified_bootstrap(
        [rows["valid_accuracy"] for _, rows in scored.groupby("setting")], np.random.default_rng(0)
    )
    if len(data.summaries) > 1 and not math.isnan(pooled.low):
        text = f"All settings pooled: {wording.estimate(pooled)} % (stratified bootstrap)."
        blocks.append(Text(text=text, style="note"))
    if len(data.settings):
        blocks.append(result_tables.seeds_needed_table(data.settings))
    return Section(id="settings", title="Settings", blocks=tuple(blocks))


def _comparisons(data: StudyData) -> Section:
    """Of the settings that figures show: more pairs would cost power, and nobody reads them."""
    shown = [s.setting for s in figures.shown_settings(data.summaries) if s.valid_accuracy.n]
    searches = data.searches[data.searches["setting"].isin(shown)]
    blocks: list[Block] = []
    if len(shown) < 2:
        blocks.append(Text(text="Fewer than two settings have results, so there is nothing to compare."))
    else:
        reference = shown[0] if len(shown) > MAX_PAIRED else None
        comparisons = compare_settings(searches, np.random.default_rng(0), reference)
        blocks.append(result_tables.comparisons_table(comparisons))
        if reference is not None:
            text = (
                f"Each setting is compared with the best one, {reference}. Because it was selected on the same data, "
                "its lead is overestimated."
            )
            blocks.append(Text(text=text, style="note"))
        if len([s for s in data.summaries if s.valid_accuracy.n]) > len(shown):
            blocks.append(Text(text=f"Only the {len(shown)} best settings are compared.", style="note"))
        found = critical_difference(searches)
        if found is not None:
            blocks.append(figures.critical_difference_figure(found))
        elif len(shown) > 2:
            text = "A critical-difference diagram needs at least 3 settings with 5 common seeds."
            blocks.append(Text(text=text, style="note"))
    if searches["method"].nunique() > 1:
        text = "One-shot accuracies of different methods are not comparable; compare retrained cells (see Retrained)."
        blocks.append(Text(text=text, style="note"))
    return Section(id="comparisons", title="Comparisons between settings", short="Comparisons", blocks=tuple(blocks))


def _seeds(data: StudyData) -> Section:
    table = result_tables.seeds_table(data.searches)
    blocks: list[Block] = [Text(text="No search has a result yet.")]
    if table.rows:
        caption = (
            "One dot per search with a result. Bars: mean ± one standard deviation, with a tick at the mean; rows with "
            f"more than {MAX_DOTS} seeds show only the bar."
        )
        svg = figures.accuracy_figure(data.searches, data.summaries)
        blocks = [Figure(caption=caption, svg=svg, table=table)]
        distribution = figures.distribution_figure(data.summaries)
        profile = figures.profile_figure(data.searches, data.summaries)
        cost = figures.cost_figure(data.searches, data.summaries)
        legend = figures.legend(figures.shown_settings(data.summaries))
        blocks += [distribution] if distribution else []
        blocks += [legend] if profile or cost else []
        blocks += [figure for figure in (profile, cost) if figure]
        settings = sum(s.ended > 0 for s in data.summaries)
        if settings > figures.MAX_SETTINGS:
            text = f"Figures show the {figures.MAX_SETTINGS} best of {settings} settings; the tables list all."
            blocks.append(Text(text=text, style="note"))
    return Section(id="seeds", title="Accuracy by seed", short="Seeds", blocks=tuple(blocks))


def _epochs(data: StudyData, architectures: pd.DataFrame) -> Section:
    shown = figures.shown_settings(data.summaries)
    blocks: list[Block] = [Text(text="No epoch has been recorded yet.")]
    if len(data.epochs):
        blocks = [figures.legend(shown)] if shown else []
        blocks += epoch_curves.epoch_figures(data.searches, data.epochs, shown)
        missing = [
            name
            for column, name in (
                ("dominant_eigenvalue", "the dominant eigenvalue"),
                ("alpha_entropy_normal", "the entropy of alpha"),
                ("valid_accuracy", "the validation accuracy"),
            )
            if not data.epochs[column].notna().any()
        ]
        if missing:
            blocks.append(Text(text=f"This study did not measure {' and '.join(missing)}.", style="note"))
        for row in row_dicts(_best(data)):
            alphas = epoch_curves.alpha_figures(architectures, row)
            if alphas:
                text = (
                    f"Architecture weights of the best search ({row['setting']}, seed {row['seed']}): softmax(alpha) "
                    "of the finally chosen operations among all operations of their edges."
                )
                blocks += [Text(text=text), *alphas]
    return Section(id="epochs", title="Training curves", short="Epochs", blocks=tuple(blocks))


def _rates(data: StudyData) -> Section:
    found = sampling_rates.rate_summaries(data.searches)
    blocks: list[Block] = [
        Text(text="All measured searches have the same sampling rate, so there is nothing to compare.")
    ]
    if found:
        text = (
            "The PC-DARTS journal paper says that partial channel connection regularizes the weights and alpha. If "
            "so, norms, eigenvalue and gap should change with the share of channels that are sampled."
        )
        blocks = [Text(text=text), sampling_rates.rate_table(found), *sampling_rates.rate_figures(found)]
    return Section(id="rates", title="Sampling rate as a regularizer", short="Sampling rate", blocks=tuple(blocks))


def _cells(data: StudyData) -> Section:
    cards = found_cells.cell_cards(data.searches, data.queue)
    blocks: list[Block] = [Legend(entries=LEGEND), *cards] if cards else [Text(text="No cell has been found yet.")]
    if len(cards) == found_cells.MAX_CARDS:
        text = f"At most {len(cards)} cells are drawn; the tables below list all."
        blocks.append(Text(text=text, style="note"))
    return Section(id="cells", title="Best cells", short="Cells", blocks=tuple(blocks))


def _agreement(data: StudyData, found: list[SettingCells], architectures: pd.DataFrame) -> Section:
    table = found_cells.agreement_table(found, _alpha_agreement(data, architectures))
    blocks: list[Block] = [Text(text="No setting has cells from two seeds, so there is nothing to compare.")]
    if any(len(cells_of.genotypes) > 1 for cells_of in found):
        blocks = [table]
        best = next(cells_of for cells_of in found if len(cells_of.genotypes) > 1)
        blocks += found_cells.similarity_figures(best)
        card = found_cells.consensus_card(best)
        blocks += [Legend(entries=LEGEND), card] if card else []
    return Section(id="agreement", title="Agreement between seeds", short="Agreement", blocks=tuple(blocks))


def _retrained(data: StudyData) -> Section:
    blocks: list[Block] = []
    if not len(final_jobs(data.retrains)):
        blocks.append(Text(text="No retraining has finished yet, so this study has no test accuracy."))
    table = retrained.retrains_table(data.searches, data.queue, data.retrains)
    if table.rows:
        note = (
            "The tested epoch was chosen by retrained validation accuracy, or is the last one if there is no "
            "validation set. The test set was evaluated once, at the end."
        )
        blocks += [table, Text(text=note, style="note")]
    over_seeds = retrained.seeds_of_cells_table(data.retrains)
    methods = retrained.methods_table(data.searches, data.queue, data.retrains)
    blocks += [table for table in (over_seeds, methods) if table.rows]
    cells = cell_stages(data.queue, data.retrains)
    note = retrained.recipe_note(data.queue, data.retrains)
    proxies = retrained.proxies_table(cells, note)
    blocks += [proxies] if proxies.rows else []
    correlations = stage_correlations(cells, np.random.default_rng(0))
    if any(found.n > 1 for found in correlations):
        blocks.append(retrained.correlations_table(correlations, note))
        figure = figures.retrained_figure(cells)
        blocks += [figure] if figure else []
    return Section(id="retrained", title="Retrained networks", short="Retrained", blocks=tuple(blocks))


def _best(data: StudyData) -> pd.DataFrame:
    """The best search, of those with cells: one row, or none."""
    return rank_searches(data.searches).dropna(subset=["genotype"]).head(1)


def _compared(data: StudyData) -> pd.DataFrame:
    """The searches whose alphas are compared: the first seeds of the best settings."""
    ranked = rank_searches(data.searches).dropna(subset=["genotype"])
    order = {s.setting: place for place, s in enumerate(data.summaries)}
    ranked = ranked.assign(place=ranked["setting"].map(order)).sort_values(["place", "seed", "search_id"])
    first = ranked[ranked.groupby("setting").cumcount() < MAX_ALPHAS_OF_SETTING].head(MAX_ALPHAS)
    return first[["search_id", "setting", "chosen_epoch"]]


def _architectures(data: StudyData) -> pd.DataFrame:
    ids = [*_best(data)["search_id"], *_compared(data)["search_id"]]
    return data.architectures(list(dict.fromkeys(ids)))


def _alpha_agreement(data: StudyData, architectures: pd.DataFrame) -> dict[str, float]:
    """Kendall's tau of alpha across the seeds of a setting, mean of the cell types, where alphas were recorded."""
    compared = _compared(data)
    rows = architectures.dropna(subset=["alphas_normal", "alphas_reduce"]).merge(compared, on="search_id")
    # The state that the cell was taken from: the chosen epoch, or else the last one.
    rows = rows[~(rows["epoch"] > rows["chosen_epoch"])].sort_values("epoch").drop_duplicates("search_id", keep="last")
    found = {}
    for setting, group in rows.sort_values("search_id").groupby("setting"):
        try:
            values = [
                alpha_rank_correlation(np.array([[list(edge) for edge in alpha] for alpha in group[name]], dtype=float))
                for name in ("alphas_normal", "alphas_reduce")
            ]
        except ValueError:  # alphas of different shapes have no common order
            continue
        found[str(setting)] = float(np.mean(values))
    return found
