"""The parser of every command: argparse with errors of one line that suggest the right flag."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line, with exit code 2, and accepts no abbreviated flags."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known: a sub-command's parser then names its own flags, and points to its own help."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint(unknown)}")
        return parsed, unknown

    def _hint(self, unknown: Sequence[str]) -> str:
        for flag in unknown:
            if flag.startswith("--") and (close := difflib.get_close_matches(flag.split("=")[0], self._flags(), n=1)):
                return f"; did you mean {close[0]}?"
        return ""

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")
