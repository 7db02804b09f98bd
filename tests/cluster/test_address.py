"""Which cluster an address means; what does not answer is refused at once, with the value and the remedy."""

import socket

import pytest

from cluster import address as addressing
from cluster.address import find_cluster


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)  # those of other tests at the same time


def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_without_any_address_and_with_local_ray_starts_here(monkeypatch):
    assert find_cluster() is None and find_cluster("local") is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert find_cluster() is None and find_cluster("auto") is None
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert find_cluster("local") is None


def test_an_address_where_nobody_listens_is_refused_with_where_it_comes_from(monkeypatch, tmp_path):
    given = f"127.0.0.1:{unused_port()}"
    with pytest.raises(ValueError, match=rf"^no Ray cluster answers at '{given}' \(.*refused\); give --address host"):
        find_cluster(given)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(given)
    left_over = rf"answers at '.*', which {tmp_path}/ray/ray_current_cluster names \(.*\); if it has ended, remove that"
    for address in ("", "auto"):
        with pytest.raises(ValueError, match=left_over):
            find_cluster(address)
    monkeypatch.setenv("RAY_ADDRESS", given)
    for address in ("", "auto"):
        with pytest.raises(
            ValueError, match=rf"answers at '{given}', the value of RAY_ADDRESS \(.*\); correct or unset"
        ):
            find_cluster(address)


def test_auto_without_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)  # others may run one on this machine
    with pytest.raises(ValueError, match=r"^no Ray cluster answers at 'auto' \(Could not find .*\); give --address"):
        find_cluster("auto")


@pytest.mark.parametrize("address", ["ray://head:10001", "http://127.0.0.1:8265", "head", "127.0.0.1:port"])
def test_what_is_no_address_of_a_cluster_is_refused(address):
    with pytest.raises(ValueError, match=f"^no Ray cluster answers at '{address}' "):
        find_cluster(address)


def test_a_port_where_something_else_listens_is_refused(monkeypatch):
    monkeypatch.setattr(addressing, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("", 0)) as server:
        with pytest.raises(ValueError, match="what listens there is no Ray"):
            find_cluster(f"127.0.0.1:{server.getsockname()[1]}")


def test_the_limits_add_up_to_less_than_a_quarter_of_a_minute():
    assert 2 * addressing.CONNECT_SECONDS < 15 and addressing.CONNECT_SECONDS + addressing.ANSWER_SECONDS < 15
