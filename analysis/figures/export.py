"""Charts as files for a paper, made without a browser."""

from typing import TYPE_CHECKING

from analysis.drawing.svg_files import FileFormat, svg_file
from analysis.figures.specs import chart_spec

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart


def chart_file(chart: "AnyChart", form: FileFormat = "pdf") -> bytes:
    """A chart as the content of a file on light paper; equal charts give equal SVG files."""
    import vl_convert

    return svg_file(vl_convert.vegalite_to_svg(chart_spec(chart), allowed_base_urls=[]), form)
