"""Collapse rules: what they find in a search so far, given only its configuration and its history.

Every rule warns, stops the search, or is off.  A rule that stops names the epoch whose cell is returned.  Epochs in
which alpha was frozen do not count: their cells are random.  Needs the standard library alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pcdarts.config import Rule, SearchConfig
from pcdarts.diagnostics.early_stop import early_stop_epoch, eigenvalue_shortage
from pcdarts.results import EpochRecord

History = Sequence[EpochRecord]


class Finding(NamedTuple):
    """What a rule found in a history."""

    reason: str
    """A sentence that stays the same in later epochs while the condition holds."""
    epoch: int | None
    """Epoch whose cell is returned if the rule stops the search; None if no epoch has a sound cell."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A finding of a rule that is not off."""

    rule: str
    """Name of the rule: nonfinite, eigenvalue, skip or frozen."""
    reason: str
    """What it found; see `Finding`."""
    epoch: int | None
    """Epoch whose cell is returned if the rule stops the search; see `Finding`."""
    stops: bool
    """Whether the rule ends the search."""

    def __str__(self) -> str:
        """Rule and reason."""
        return f"{self.rule} rule: {self.reason}"


def verdicts(config: SearchConfig, history: History) -> list[Verdict]:
    """Verdicts of the rules after the last epoch of the history, the gravest first."""
    found = []
    for name, rule in _RULES.items():
        mode: Rule = getattr(config, f"{name}_rule")
        finding = rule(config, history) if history and mode != "off" else None
        if finding is not None:
            found.append(Verdict(rule=name, reason=finding.reason, epoch=finding.epoch, stops=mode == "stop"))
    return found


def stopping(found: Iterable[Verdict]) -> Verdict | None:
    """The first of the verdicts that ends the search, or None.

    Raises FloatingPointError if loss, alpha or beta is not finite and no earlier epoch has a sound cell.
    """
    stop = next((verdict for verdict in found if verdict.stops), None)
    if stop is not None and stop.epoch is None:
        raise FloatingPointError(stop.reason)
    return stop


def shortages(config: SearchConfig) -> dict[str, str]:
    """Rules that are not off but can never fire in a search of this configuration, with the reason.

    For instance {"eigenvalue": "needs 9 measurements with trained alpha, has 3"}.  `eigenvalue_shortage` says the same
    of what was measured in a search.
    """
    if config.method == "random":
        return {}
    trained = range(config.warmup_epochs, config.epochs)
    still = config.frozen_epochs + (config.warmup_epochs == 0)  # one more than there are changes to see
    most = config.max_skip_connections
    found = {
        "eigenvalue": eigenvalue_shortage([epoch for epoch in trained if config.due(config.eigenvalue_every, epoch)]),
        "skip": f"max_skip_connections is {most}, and no cell has more than 8" if most == 8 else None,
        "frozen": f"needs {still} epochs with trained alpha, has {len(trained)}" if len(trained) < still else None,
    }
    return {name: why for name, why in found.items() if why is not None and getattr(config, f"{name}_rule") != "off"}


def nonfinite(config: SearchConfig, history: History) -> Finding | None:
    """Training loss, alpha or beta is not finite; returns the last trained epoch before."""
    for position, record in enumerate(history):
        if not _finite(record):
            what = (
                "alpha or beta is not finite"
                if math.isfinite(record.train_loss)
                else f"training loss is {record.train_loss}"
            )
            reason = f"{what} in epoch {record.epoch}; lower learning_rate ({record.learning_rate:.3g})"
            return Finding(reason, _last(before.epoch for before in history[:position] if before.alpha_trained))
    return None


def eigenvalue(config: SearchConfig, history: History) -> Finding | None:
    """The dominant eigenvalue grew too much; returns the epoch of `early_stop_of`."""
    epoch = early_stop_of(history)
    if epoch is None:
        return None
    return Finding(f"the dominant eigenvalue grew by more than 1.3 times after epoch {epoch}", epoch)


def early_stop_of(history: History) -> int | None:
    """`early_stop_epoch` of the eigenvalues measured in epochs of trained alpha."""
    measured = [
        (record.epoch, record.dominant_eigenvalue)
        for record in history
        if record.alpha_trained and record.dominant_eigenvalue is not None
    ]
    return early_stop_epoch([epoch for epoch, _ in measured], [value for _, value in measured])


def skip_connections(config: SearchConfig, history: History) -> Finding | None:
    """The normal cell has too many skip connections; returns the last epoch within the limit, else the last epoch."""
    last, most = history[-1], config.max_skip_connections
    if not last.alpha_trained or last.skip_connections_normal <= most:
        return None
    within = _last(r.epoch for r in history if r.alpha_trained and r.skip_connections_normal <= most)
    reason = f"the normal cell has {last.skip_connections_normal} skip connections, more than {most}"
    return Finding(reason, last.epoch if within is None else within)


def frozen(config: SearchConfig, history: History) -> Finding | None:
    """The genotype did not change in frozen_epochs epochs of trained alpha; returns the last epoch."""
    same = len(history) - 1
    while same and history[same - 1].genotype_digest == history[-1].genotype_digest and history[same].alpha_trained:
        same -= 1
    if len(history) - 1 - same < config.frozen_epochs:
        return None
    return Finding(f"the genotype has been the same since epoch {history[same].epoch}", history[-1].epoch)


_RULES: dict[str, Callable[[SearchConfig, History], Finding | None]] = {
    "nonfinite": nonfinite,
    "eigenvalue": eigenvalue,
    "skip": skip_connections,
    "frozen": frozen,
}
"""Rules by name, the gravest first; `NAME_rule` of a configuration says what a rule does."""


def _finite(record: EpochRecord) -> bool:
    matrices = (*record.alphas_normal, *record.alphas_reduce, record.betas_normal, record.betas_reduce)
    return math.isfinite(record.train_loss) and all(math.isfinite(value) for row in matrices for value in row)


def _last(epochs: Iterable[int]) -> int | None:
    return max(epochs, default=None)
