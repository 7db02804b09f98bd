"""What changed between two JSON values, so that a page receives only that.  `static/changes.js` applies it.

A change is a dictionary with one of these keys:

    value     the new value
    tail      elements to append to a list
    fields    the changes of an object's fields, and in `gone` the names of those that it no longer has
"""

from collections.abc import Mapping
from typing import Any

Change = dict[str, Any]


def changes(old: Any, new: Any) -> Change | None:
    """What turns `old` into `new`; None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        fields = {
            name: change
            for name, value in new.items()
            if (change := changes(old[name], value) if name in old else {"value": value}) is not None
        }
        gone = [name for name in old if name not in new]
        return {"fields": fields} | ({"gone": gone} if gone else {}) if fields or gone else None
    if old == new and type(old) is type(new):
        return None
    if isinstance(old, list) and isinstance(new, list) and old and new[: len(old)] == old:
        return {"tail": new[len(old) :]}
    return {"value": new}


def applied(old: Any, change: Mapping[str, Any] | None) -> Any:
    """The new value; `old` stays as it is."""
    if change is None:
        return old
    if "value" in change:
        return change["value"]
    if "tail" in change:
        return [*old, *change["tail"]]
    kept = {name: value for name, value in old.items() if name not in change.get("gone", ())}
    return kept | {name: applied(old.get(name), field) for name, field in change["fields"].items()}
