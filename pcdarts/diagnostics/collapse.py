"""Collapse rules: what they say about a search so far, from nothing but its configuration and its history.

Every rule warns, stops the search, or is off.  One that stops names the epoch whose cell is returned.  Epochs of
untrained alpha count for none of them: their cells are drawn by chance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pcdarts.config import Rule, SearchConfig
from pcdarts.diagnostics.early_stop import early_stop_epoch
from pcdarts.results import EpochRecord

History = Sequence[EpochRecord]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says."""

    rule: str
    """Name of the rule: nonfinite, eigenvalue, skip or frozen."""
    reason: str
    """What it found, in words that stay the same while it lasts."""
    epoch: int | None
    """Epoch whose cell is returned if the rule stops the search; None where there is no sound one."""
    stops: bool
    """Whether the rule ends the search."""

    def __str__(self) -> str:
        """Rule and reason."""
        return f"{self.rule} rule: {self.reason}"


def verdicts(config: SearchConfig, history: History) -> list[Verdict]:
    """What the rules that are not off say after the last epoch of the history; the gravest comes first."""
    if not history:
        return []
    rules: tuple[tuple[str, Rule, tuple[str, int | None] | None], ...] = (
        ("nonfinite", config.nonfinite_rule, nonfinite(history)),
        ("eigenvalue", config.eigenvalue_rule, eigenvalue(history)),
        ("skip", config.skip_rule, skip_connections(history, config.max_skip_connections)),
        ("frozen", config.frozen_rule, frozen(history, config.frozen_epochs)),
    )
    return [
        Verdict(rule=name, reason=found[0], epoch=found[1], stops=mode == "stop")
        for name, mode, found in rules
        if mode != "off" and found is not None
    ]


def stopping(config: SearchConfig, history: History) -> Verdict | None:
    """The verdict that ends the search after the last epoch of the history, if there is one.

    Raises FloatingPointError where training loss, alpha or beta is not finite and no sound cell was found before.
    """
    found = next((verdict for verdict in verdicts(config, history) if verdict.stops), None)
    if found is not None and found.epoch is None:
        raise FloatingPointError(found.reason)
    return found


def nonfinite(history: History) -> tuple[str, int | None] | None:
    """The first epoch whose training loss, alpha or beta is not finite, and the last trained one before it."""
    for position, record in enumerate(history):
        if not _finite(record):
            what = (
                "alpha or beta is not finite"
                if math.isfinite(record.train_loss)
                else "training loss is " + str(record.train_loss)
            )
            reason = f"{what} in epoch {record.epoch}; lower learning_rate ({record.learning_rate:.3g})"
            return reason, _last(before.epoch for before in history[:position] if before.alpha_trained)
    return None


def eigenvalue(history: History) -> tuple[str, int] | None:
    """The epoch that `early_stop_epoch` names."""
    epoch = named_epoch(history)
    return (
        None if epoch is None else (f"the dominant eigenvalue grew by more than 1.3 times after epoch {epoch}", epoch)
    )


def named_epoch(history: History) -> int | None:
    """What `early_stop_epoch` says of the eigenvalues measured in epochs of trained alpha."""
    measured = [
        (record.epoch, record.dominant_eigenvalue)
        for record in history
        if record.alpha_trained and record.dominant_eigenvalue is not None
    ]
    return early_stop_epoch([epoch for epoch, _ in measured], [value for _, value in measured])


def skip_connections(history: History, most: int) -> tuple[str, int] | None:
    """More skip connections in the last normal cell than allowed, and the last epoch that had not; else that cell's."""
    last = history[-1]
    if not last.alpha_trained or last.skip_connections_normal <= most:
        return None
    within = _last(r.epoch for r in history if r.alpha_trained and r.skip_connections_normal <= most)
    reason = f"the normal cell has {last.skip_connections_normal} skip connections, more than {most}"
    return reason, last.epoch if within is None else within


def frozen(history: History, epochs: int) -> tuple[str, int] | None:
    """The genotype that so many epochs of trained alpha left as it was, and the last epoch."""
    same = len(history) - 1
    while same and history[same - 1].genotype_digest == history[-1].genotype_digest and history[same].alpha_trained:
        same -= 1
    if len(history) - 1 - same < epochs:
        return None
    return f"the genotype has been the same since epoch {history[same].epoch}", history[-1].epoch


def _finite(record: EpochRecord) -> bool:
    matrices = (*record.alphas_normal, *record.alphas_reduce, record.betas_normal, record.betas_reduce)
    return math.isfinite(record.train_loss) and all(math.isfinite(value) for row in matrices for value in row)


def _last(epochs: Iterable[int]) -> int | None:
    return max(epochs, default=None)
