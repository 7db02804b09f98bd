import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.watch.changes import applied, changes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, VALUES)
def test_a_change_turns_the_old_value_into_the_new_one(old, new):
    before = json.dumps(old)
    change = json.loads(json.dumps(changes(old, new)))
    assert applied(old, change) == new
    assert json.dumps(old) == before


@given(VALUES)
def test_equal_values_need_no_change(value):
    assert changes(value, json.loads(json.dumps(value))) is None


def test_a_growing_list_sends_its_tail():
    assert changes({"a": [1, 2], "b": 1}, {"a": [1, 2, 3], "b": 1}) == {"fields": {"a": {"tail": [3]}}}


def test_a_cell_of_a_table_is_sent_alone():
    rows = {f"k{n}": {"epoch": 1, "state": "running"} for n in range(100)}
    after = rows | {"k7": {"epoch": 2, "state": "running"}}
    assert changes(rows, after) == {"fields": {"k7": {"fields": {"epoch": {"value": 2}}}}}


def test_what_is_gone_is_named():
    assert changes({"a": 1, "b": 2}, {"b": 2}) == {"fields": {}, "gone": ["a"]}
