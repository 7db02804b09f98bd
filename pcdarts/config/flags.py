"""Command-line flags from the fields of a configuration, with the fields' docstrings as help.

Plain argparse: a field of a search may be given several values, and errors must be one line.
"""

import argparse
import dataclasses
import difflib
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from pcdarts.config.fields import field_docs


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


def add_fields(
    parser: argparse._ActionsContainer,
    config: Any,
    *,
    several: bool = False,
    prefix: str = "",
    skip: Collection[str] = (),
    only: Collection[str] = (),
    default: str | None = None,
) -> None:
    """Add a flag for every field of a dataclass instance, or of a dataclass, but for some, or for some alone.

    With `several` a flag takes a list of values.  Flags that are not given leave None behind.  `default` says in words
    what holds then, where that is not the value here.
    """
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    docs = field_docs(config if isinstance(config, type) else type(config))
    for field in dataclasses.fields(config):
        if field.name in skip or (only and field.name not in only):
            continue
        value = field.default if isinstance(config, type) else getattr(config, field.name)
        parser.add_argument(
            f"--{prefix}{field.name}".replace("_", "-"),
            dest=f"{prefix}{field.name}".replace("-", "_"),
            type=_reader(hints[field.name]),
            nargs="+" if several else None,
            metavar=_metavar(hints[field.name]),
            help=f"{docs[field.name]} (default: {default or value})".replace("%", "%%"),
        )


def given(arguments: argparse.Namespace, config: Any, *, prefix: str = "") -> dict[str, Any]:
    """The fields of a dataclass that were given on the command line."""
    names = [field.name for field in dataclasses.fields(config)]
    values = {name: getattr(arguments, f"{prefix}{name}".replace("-", "_"), None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    return {bool: "{true,false}", int: "INT", float: "NUMBER"}.get(kind, "TEXT")


def _reader(kind: Any) -> Callable[[str], Any]:
    if typing.get_origin(kind) is typing.Literal:
        return _choice(typing.get_args(kind))
    return _choice((True, False)) if kind is bool else kind


def _choice(values: tuple[Any, ...]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        for value in values:
            if text.lower() == str(value).lower():
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(map(str, values))}")

    return read
