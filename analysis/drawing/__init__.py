"""Figures drawn as SVG from numbers: no plotting library, one style in the report's light and dark modes."""
