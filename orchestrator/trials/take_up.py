"""What a driver does with the requests of `orchestrator.storage.steering_log`: it depends on what runs.

Most of a request is in force once it is written: the flag that ends a search or a job, the events of the queue, the
seeds.  The driver changes what waits for a place, and answers.
"""

from collections.abc import Callable, Sequence

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.live_driver import LiveDriver
from orchestrator.more_seeds import with_added_seeds
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.steering_log import Request, StopFlags
from orchestrator.trials.retrain_listener import RetrainListener
from orchestrator.trials.retrain_spec import RetrainSpec
from orchestrator.trials.search_listener import SearchListener
from orchestrator.trials.tune_trials import TrialLine, TrialSpec
from pcdarts.config import SearchConfig
from pcdarts.results import STOPPED_BY_HAND


class Requests:
    """Takes up requests while nothing runs.

    `save` stores a study that has more seeds.
    """

    def __init__(
        self, live: LiveDriver, study: StudyConfig, store: ResultStore, save: Callable[[StudyConfig], object]
    ) -> None:
        self.live, self.store, self.save = live, store, save
        self.study = study
        """The study, with the seeds that were added meanwhile."""
        self.base: Requests = self
        """The one that holds the study; what takes up requests during a phase has that of the whole run."""
        self.flags = StopFlags(store.below("stops"))
        self.changed_queue = False
        """Whether the queue was changed by hand; for `run_study` to reset."""

    def take_up(self, look: bool = False) -> None:
        """Take up and answer the requests that came; with `look` those of this moment too."""
        for request in self.live.take(look):
            try:
                self.live.answer(request, self._do(request))
            except ValueError as error:
                self.live.answer(request, str(error), refused=True)

    def stop(self, key: str) -> str:
        """End a search; returns when, and raises ValueError if it has ended by itself."""
        self.flags.raise_flag(key)
        return "it does not run" if self._has_no_epoch(key) else "it ends with the cell of its last epoch"

    def add_seeds(self, seeds: Sequence[int]) -> str:
        """Add seeds to the study; returns when their searches run."""
        self._grow(seeds)
        return "the searches run next"

    def change_queue(self, request: Request) -> str:
        """Show the change of the queue in its table; returns when it takes effect."""
        RetrainQueue(self.base.study, self.store).refresh()
        self.base.changed_queue = True
        return "the queue is changed"

    def _do(self, request: Request) -> str:
        if request.kind == "stop":
            rows = self.store.read_part(SEARCHES, request.target)
            if rows and not (rows[0]["status"] == "failed" and request.target in self.running()):
                if rows[0]["status"] == "canceled" or rows[0]["stop_reason"] == STOPPED_BY_HAND:
                    return ""
                raise ValueError(f"search {request.target} has ended already, it is {rows[0]['status']}")
            if request.target not in self.searches():
                raise ValueError(f"{request.target!r} is no search of this study")
            return self.stop(request.target)
        if request.kind == "seeds":
            return self.add_seeds(request.seeds)
        return self.change_queue(request)

    def running(self) -> set[str]:
        """The ids of the searches that run; one that failed before may be among them."""
        return set()

    def searches(self) -> set[str]:
        """The ids of the study's searches."""
        return {config.search_id for config in self.base.study.searches()}

    def _grow(self, seeds: Sequence[int]) -> list[SearchConfig]:
        """Add seeds to the study and store it; returns the searches that are new."""
        before, study = self.searches(), with_added_seeds(self.base.study, seeds)
        new = [config for config in study.searches() if config.search_id not in before]
        if study != self.base.study:
            self.save(study)
            self.base.study = study
        return new

    def _has_no_epoch(self, key: str) -> bool:
        return not self.store.read_part(EPOCHS, key)


class SearchRequests(Requests):
    """Takes up requests while searches run.

    `plan` makes the trials of more searches, or returns none if they need more room than those that run now.
    """

    def __init__(
        self,
        base: Requests,
        listener: SearchListener,
        line: TrialLine,
        plan: Callable[[list[SearchConfig]], list[TrialSpec]],
    ) -> None:
        super().__init__(base.live, base.study, base.store, base.save)
        self.base, self.listener, self.line, self.plan = base, listener, line, plan

    def cancel_stopped(self) -> None:
        """Cancel the searches that were stopped before this run and have trained nothing."""
        for key in self.flags.names().intersection(self.listener.specs):
            if self._has_no_epoch(key):
                self.line.withdraw(key)
                self.listener.cancel(key)

    def running(self) -> set[str]:
        """The ids of the searches that run."""
        return self.listener.running

    def searches(self) -> set[str]:
        """The ids of the study's searches, and of those that run."""
        return super().searches() | self.listener.progress.epochs.keys()

    def stop(self, key: str) -> str:
        """End a search that runs after its present epoch, and one that waits at once."""
        self.flags.raise_flag(key)
        if key in self.listener.ended:
            return "it has just ended"
        if key in self.listener.running:
            return "it ends after its present epoch"
        if self.listener.epochs.get(key) or not self._has_no_epoch(key):
            return "it ends with the cell of its last epoch, once it has a place"
        if key not in self.listener.specs:  # it was to run after the present ones, which then cancel it
            return "it does not run"
        self.line.withdraw(key)
        self.listener.cancel(key)
        return "it does not run"

    def add_seeds(self, seeds: Sequence[int]) -> str:
        """Let the searches of more seeds wait behind the others."""
        ended = {*self.store.read(SEARCHES, ["search_id"])["search_id"], *self.listener.ended}
        new = [config for config in self._grow(seeds) if config.search_id not in ended]
        specs = self.plan(new)
        self.listener.expect(specs)
        self.line.add(specs)
        return "the searches wait for a place" if specs else "the searches run after the present ones"

    def change_queue(self, request: Request) -> str:
        """Show the change of the queue in its table."""
        return f"{super().change_queue(request)}; no job runs during the searches"


class RetrainRequests(Requests):
    """Takes up requests while jobs of one stage run; `plan` makes the trials of jobs of this stage."""

    def __init__(
        self,
        base: Requests,
        listener: RetrainListener,
        line: TrialLine,
        plan: Callable[[list[RetrainJob]], list[RetrainSpec]],
    ) -> None:
        super().__init__(base.live, base.study, base.store, base.save)
        self.base, self.listener, self.line, self.plan = base, listener, line, plan

    def add_seeds(self, seeds: Sequence[int]) -> str:
        """Add seeds; the rest of the queue waits for their searches."""
        self._grow(seeds)
        return "the searches run once the present trainings have ended"

    def change_queue(self, request: Request) -> str:
        """Let the pending jobs of this stage wait in their present order."""
        self.listener.settle()
        queue, key = self.listener.queue, request.target
        running = self.line.handed.values()
        pending = [queued for queued in queue.pending() if queued.job.job_id not in running]
        pending.sort(key=lambda queued: queued.state.retry_at or 0.0)  # delayed jobs come last
        waiting = self.plan([queued.job for queued in pending])
        self.listener.expect(waiting, instead_of=self.line.specs)
        self.line.replace(waiting)
        if request.kind == "drop":
            return "it ends after its present epoch" if key in self.listener.running else ""
        return "" if key in running or any(spec.key == key for spec in waiting) else "it runs in a later round"
