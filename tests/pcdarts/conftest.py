import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--official", metavar="DIR", help="checkout of the official PC-DARTS code, to compare with")
