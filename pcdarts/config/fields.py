"""Fields of a dataclass: checks of their values, and their docstrings.  Needs the standard library alone."""

import ast
import dataclasses
import inspect
import sys
import textwrap
from functools import cache
from typing import Any, get_args, get_origin


def check_types(config: Any) -> None:
    """Raise ValueError if a field of a dataclass has a value of another type, or one that is not in its Literal."""
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), field.type
        if kind is float:
            finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
            require(finite, config, field.name, "a finite number")
            object.__setattr__(config, field.name, float(value))
        elif get_origin(kind) is tuple:
            item = get_args(kind)[0]
            fits = type(value) is tuple and all(type(each) is item for each in value)
            require(fits, config, field.name, kind_text(kind))
        elif choices := get_args(kind):
            fits = value in choices and type(value) in {type(choice) for choice in choices}
            require(fits, config, field.name, kind_text(kind))
        else:
            require(type(value) is kind, config, field.name, kind_text(kind))


def kind_text(kind: Any) -> str:
    """What a field of a type accepts, in words."""
    if get_origin(kind) is tuple:
        return f"a list of {getattr(get_args(kind)[0], '__name__', kind)}"
    if choices := get_args(kind):
        return f"one of {', '.join(map(str, choices))}"
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    return words.get(kind, f"of type {getattr(kind, '__name__', kind)}")


def at_least(config: Any, **bounds: float) -> None:
    """Raise ValueError if a field is below its bound."""
    for name, least in bounds.items():
        require(getattr(config, name) >= least, config, name, f"at least {least:g}")


def require(holds: bool, config: Any, name: str, rule: str) -> None:
    """Raise ValueError, with the field's value and the rule, unless the rule holds."""
    if not holds:
        raise ValueError(f"{name} is {getattr(config, name)!r}, but must be {rule}")


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstring under every field of a dataclass and of its bases, on one line each."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        (body,) = (
            node.body
            for node in ast.parse(textwrap.dedent(inspect.getsource(base))).body
            if isinstance(node, ast.ClassDef)
        )
        for field, doc in zip(body, body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(doc, ast.Expr)
                and isinstance(doc.value, ast.Constant)
            ):
                docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs
