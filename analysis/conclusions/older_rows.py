"""Rows of earlier versions of this program next to later ones, so that only real differences tell them apart."""

import pandas as pd

from pcdarts.config import OWN_IMAGES

DEFAULTS: dict[str, int | str] = {"image_size": 0, "max_images": 0, "flip": "auto"}
"""Columns that came later, with the values that all earlier runs had."""


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `searches` or `retrains` with values where earlier versions stored none.

    These are DEFAULTS and the fingerprint of built-in images, whose name stands for them: that of the rows that have
    one, if it is the same in all of them.
    """
    filled = {name: rows[name].where(rows[name].notna(), value) for name, value in DEFAULTS.items()}
    prints = rows["data_fingerprint"].where(rows["data_fingerprint"].notna(), "")
    for dataset, known in prints[prints != ""].groupby(rows["dataset"]):
        if dataset not in OWN_IMAGES and known.nunique() == 1:
            prints = prints.mask((rows["dataset"] == dataset) & (prints == ""), known.iloc[0])
    return rows.assign(**filled, data_fingerprint=prints)
