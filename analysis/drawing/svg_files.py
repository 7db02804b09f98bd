"""SVG as files for a paper: SVG, PDF or PNG on light paper, made without a browser."""

import re
from typing import Literal, get_args

FileFormat = Literal["pdf", "svg", "png"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
"""Formats of a figure as a file; fonts are embedded in PDF."""
SCALE = 2.0
"""Pixels of a PNG for each pixel of a page."""
INK = "#1c2127"
"""Color of text on light paper."""


def svg_file(svg: str, form: FileFormat) -> bytes:
    """An SVG as the content of a file; CSS variables get their default, which is that of light paper."""
    svg = re.sub(r"var\(--[\w-]+,\s*([^()]+)\)", r"\1", svg).replace("currentColor", INK)
    if form == "svg":
        return svg.encode()

    import vl_convert

    return bytes(vl_convert.svg_to_pdf(svg) if form == "pdf" else vl_convert.svg_to_png(svg, scale=SCALE))
