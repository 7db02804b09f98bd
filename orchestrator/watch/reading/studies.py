"""Which studies a folder or URI holds: itself one, or one in each of its subfolders."""

from dataclasses import dataclass

from analysis.storage.study_files import StudyFiles, join
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from orchestrator.storage.live_status import ENDED, LIVE_FILE, read_live_status
from orchestrator.watch.reading.snapshot import STUDY_FILE

MARKS = frozenset({SEARCHES.name, EPOCHS.name, QUEUE.name, RETRAINS.name})
"""Folders of a study without study.json, such as an import."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A study in the list."""

    name: str
    """Name of its folder."""
    state: str
    """What its driver does, or how it ended; empty if that is unknown."""
    written_at: float
    """When its driver last wrote, or its configuration was written, seconds since 1970."""


class Studies:
    """The studies of one place."""

    def __init__(self, root: str) -> None:
        self.files = StudyFiles(root)
        self.root = self.files.root

    @property
    def single(self) -> bool:
        """Whether the place is one study."""
        return is_study(self.files)

    def folders(self) -> dict[str, str]:
        """The folder of each study by name; those of one study are itself."""
        if self.single:
            return {self.root.partition("?")[0].rstrip("/").rsplit("/", 1)[-1] or "study": self.root}
        return {name: join(self.root, name) for name in self.files.folders() if is_study(self.files.below(name))}

    def entries(self) -> list[Entry]:
        """The studies, the last written first."""
        found = []
        for name, root in self.folders().items():
            files = StudyFiles(root)
            live = read_live_status(files)
            state = ""
            if live:
                state = live.driver.phase if live.driver.phase in ENDED else "stale" if live.stale() else "running"
            stamps = [stamp for file in (LIVE_FILE, STUDY_FILE) if (stamp := files.stamp(file))]
            times = [stamp.written_at for stamp in stamps]
            found.append(Entry(name=name, state=state, written_at=max(times, default=0.0)))
        return sorted(found, key=lambda entry: (-entry.written_at, entry.name))


def is_study(files: StudyFiles) -> bool:
    """Whether a folder holds a study or the tables of one."""
    return files.stamp(STUDY_FILE) is not None or bool(MARKS & set(files.folders()))
