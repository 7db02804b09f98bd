"""Figures of a study: the numbers of each as a data frame, and their drawing as an Altair chart."""

from analysis.figures.epochs import epoch_curves_chart, epoch_curves_data
from analysis.figures.errors import (
    cost_chart,
    cost_data,
    one_shot_error_chart,
    one_shot_error_data,
    performance_profile_chart,
    performance_profile_data,
)
from analysis.figures.export import chart_file
from analysis.figures.heat_maps import alpha_weights_chart, alpha_weights_data, similarity_chart, similarity_data
from analysis.figures.marks import panels
from analysis.figures.rates import sampling_rates_chart, sampling_rates_data
from analysis.figures.registry import FIGURES, Figure
from analysis.figures.script import vega_script
from analysis.figures.specs import chart_spec, page_spec, spec_json, unchecked
from analysis.figures.strips import one_shot_chart, one_shot_data, test_errors_chart, test_errors_data

__all__ = [
    "FIGURES",
    "Figure",
    "alpha_weights_chart",
    "alpha_weights_data",
    "chart_file",
    "chart_spec",
    "cost_chart",
    "cost_data",
    "epoch_curves_chart",
    "epoch_curves_data",
    "one_shot_chart",
    "one_shot_data",
    "one_shot_error_chart",
    "one_shot_error_data",
    "page_spec",
    "panels",
    "performance_profile_chart",
    "performance_profile_data",
    "sampling_rates_chart",
    "sampling_rates_data",
    "similarity_chart",
    "similarity_data",
    "spec_json",
    "test_errors_chart",
    "test_errors_data",
    "unchecked",
    "vega_script",
]
