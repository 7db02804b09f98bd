import pytest

from orchestrator.watch.view import View


def test_the_query_of_an_address_is_a_view():
    view = View.of({"tab": "searches", "setting": "k=4", "page": "3", "size": "100", "at": "12", "token": "x"})
    assert view == View(tab="searches", setting="k=4", page=3, size=100, at="12")
    assert View.of({}) == View()
    assert View.of({"columns": "seed,error"}).column_names == ["seed", "error"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("tab", "queue"), ("page", "0"), ("page", "x"), ("size", "7"), ("at", "-1"), ("seed", "x"), ("lines", "maybe")],
)
def test_a_value_without_meaning_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*must be"):
        View.of({name: value})
