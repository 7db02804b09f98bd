"""Draw the pictures of docs/figures.md from the published study: `make docs` runs this."""

import re
from pathlib import Path

from analysis.figures import FIGURES, chart_file, panels
from analysis.store import ResultStore
from analysis.study_data import StudyData

DOCS = Path(__file__).parent


def main() -> None:
    """Write the first panel of every figure that the page shows."""
    study = StudyData(store=ResultStore(str(DOCS / "results" / "fashion-14")))
    (DOCS / "figures").mkdir(exist_ok=True)
    for name in re.findall(r"figures/([\w-]+)\.svg", (DOCS / "figures.md").read_text()):
        first = next(iter(panels(FIGURES[name].data(study)).values()))
        (DOCS / "figures" / f"{name}.svg").write_bytes(chart_file(FIGURES[name].chart(first), "svg"))


if __name__ == "__main__":
    main()
