"""All figures of a study by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from analysis.figures.epochs import CURVES, epoch_curves_chart, epoch_curves_data
from analysis.figures.errors import (
    cost_chart,
    cost_data,
    one_shot_error_chart,
    one_shot_error_data,
    performance_profile_chart,
    performance_profile_data,
)
from analysis.figures.heat_maps import alpha_weights_chart, alpha_weights_data, similarity_chart, similarity_data
from analysis.figures.rates import sampling_rates_chart, sampling_rates_data
from analysis.figures.strips import one_shot_chart, one_shot_data, test_errors_chart, test_errors_data
from analysis.study_data import StudyData


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: numbers, and how they are drawn."""

    name: str
    """Name; lower-case letters, digits and -."""
    title: str
    """What it shows."""
    data: Callable[[StudyData], pd.DataFrame]
    """Numbers of a study; no rows if it has none."""
    chart: Callable[[pd.DataFrame], Any]
    """The Altair chart of these numbers, or of some of their rows."""


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            name="test-errors",
            title="Test errors of the retrained cells by setting",
            data=test_errors_data,
            chart=test_errors_chart,
        ),
        Figure(
            name="performance-profile",
            title="Performance profile of the settings",
            data=performance_profile_data,
            chart=performance_profile_chart,
        ),
        Figure(name="cost", title="Test error against the cost of a search", data=cost_data, chart=cost_chart),
        Figure(
            name="one-shot-error",
            title="Test error against one-shot accuracy",
            data=one_shot_error_data,
            chart=one_shot_error_chart,
        ),
        Figure(name="one-shot", title="One-shot accuracy by setting", data=one_shot_data, chart=one_shot_chart),
        *(
            Figure(
                name=f"epochs-{curve.column.replace('_', '-')}",
                title=f"{curve.name} over epochs",
                data=partial(epoch_curves_data, measure=curve.column),
                chart=epoch_curves_chart,
            )
            for curve in CURVES
        ),
        Figure(
            name="alpha-weights",
            title="Weights of the chosen operations over epochs",
            data=alpha_weights_data,
            chart=alpha_weights_chart,
        ),
        Figure(
            name="sampling-rates",
            title="Norms and entropies by sampling rate",
            data=sampling_rates_data,
            chart=sampling_rates_chart,
        ),
        Figure(
            name="similarity",
            title="Similarity of the cells of a setting's seeds",
            data=similarity_data,
            chart=similarity_chart,
        ),
    )
}
"""Figures by name, in the order of the report."""
