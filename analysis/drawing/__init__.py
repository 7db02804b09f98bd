"""Cells drawn as SVG, one style in light and dark pages, and SVG as files for a paper."""
