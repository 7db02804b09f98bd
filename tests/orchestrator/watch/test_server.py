"""The server over real sockets of the loopback address: access, pages, streams that resume, actions."""

import asyncio
import json
import re

import pytest
from aiohttp.test_utils import TestClient, TestServer

from analysis.store import ResultStore
from analysis.tables import SEARCHES
from orchestrator.watch import streams
from orchestrator.watch.access import Access
from orchestrator.watch.changes import applied
from orchestrator.watch.server import Server
from tests.analysis.synthetic import search_row, write_study
from tests.object_store import seaweed
from tests.orchestrator.watch.studies import description, end, planned, report_epochs, simulated

ACCESS = Access(token="secret-token")
PUBLIC = Access(token="secret-token", public=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(streams, "LOCAL_SECONDS", 0.02)


def serve(root, test, access=PUBLIC):
    """Run an asynchronous test with a client of a server of this folder."""

    async def run():
        async with TestClient(TestServer(Server(str(root), access).app())) as client:
            await test(client)

    asyncio.run(run())


async def signed_in(client):
    await client.get("/?token=secret-token")


def origin(client):
    return {"Origin": f"http://{client.host}:{client.port}"}


class Events:
    """Reads a stream of server-sent events and keeps the state that it leads to."""

    def __init__(self, answer):
        self.answer, self.state, self.last = answer, {}, ""

    async def next(self):
        lines = []
        while True:
            line = (await asyncio.wait_for(self.answer.content.readline(), 60)).decode().rstrip("\n")
            assert line or lines or not self.answer.content.at_eof(), "the stream has ended"
            if line.startswith("data: "):
                self.change = json.loads(line[6:])
                self.state = applied(self.state, self.change)
                return self.state
            if line.startswith("id: "):
                self.last = line[4:]
            lines.append(line)

    async def until(self, condition):
        while not condition(await self.next()):
            pass
        return self.state


def test_without_the_token_nothing_is_answered(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        for path in ("/", "/studies", "/static/page.js", f"/study/{tmp_path.name}/", f"/study/{tmp_path.name}/panels"):
            answer = await client.get(path)
            assert answer.status == 403 and "pcdarts watch" in await answer.text()
        assert (await client.get("/?token=wrong")).status == 403

    serve(tmp_path, test, ACCESS)


def test_the_token_becomes_a_cookie_that_other_sites_cannot_send(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        answer = await client.get("/?token=secret-token&tab=searches", allow_redirects=False)
        cookie = answer.headers["Set-Cookie"]
        assert answer.status == 303 and answer.headers["Location"] == "/?tab=searches"
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "secret-token" not in cookie
        assert (await client.get(f"/study/{tmp_path.name}/")).status == 200

    serve(tmp_path, test, ACCESS)


def test_a_foreign_name_is_refused_even_for_readers(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        for path in ("/", f"/study/{tmp_path.name}/panels", "/?token=secret-token"):
            answer = await client.get(path, headers={"Host": "evil.example"}, allow_redirects=False)
            assert answer.status == 403 and "Set-Cookie" not in answer.headers

    serve(tmp_path, test)


def test_every_answer_has_the_policy_and_none_allows_other_origins(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        study = f"/study/{tmp_path.name}"
        paths = (
            "/",
            "/static/watch.css",
            f"{study}/",
            f"{study}/panels",
            f"{study}/events",
            "/nothing",
        )
        for path in paths:
            async with client.get(path, headers={"Origin": "http://evil.example"}) as answer:
                assert "frame-ancestors" in answer.headers["Content-Security-Policy"], path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        page = await (await client.get(f"{study}/")).text()
        assert not re.search(r"<script(?![^>]*src=)|<style| on[a-z]+=| style=|https?://", page)

    serve(tmp_path, test)


def test_actions_need_the_token_this_page_and_json(tmp_path):
    planned(tmp_path)
    path = f"/study/{tmp_path.name}/actions"
    asked = {"action": "seeds", "target": "71 72"}

    async def test(client):
        assert (await client.post(path, json=asked, headers=origin(client))).status == 403  # public is for readers
        await signed_in(client)
        assert (await client.post(path, json=asked)).status == 403
        assert (await client.post(path, json=asked, headers={"Origin": "http://evil.example"})).status == 403
        assert (await client.post(path, data=json.dumps(asked), headers=origin(client))).status == 400
        assert not (tmp_path / "steering").exists()
        answer = await client.post(path, json=asked, headers=origin(client))
        assert answer.status == 200 and (await answer.json())["done"] == "Asked for the seeds 71, 72"
        assert len(list((tmp_path / "steering").iterdir())) == 1
        again = await client.post(path, json=asked, headers=origin(client))
        assert again.status == 400 and "in the study already" in await again.text()

    serve(tmp_path, test)


@pytest.mark.parametrize(
    ("action", "target", "reason"),
    [
        ("drop", "1f", "names no job"),
        ("up", "1f", "names no job"),
        ("retry", "1f", "names no job"),
        ("stop", "nobody", "names no search"),
        ("seeds", "one", "must be integers"),
        ("add", "/etc/passwd", "must be one of"),
        ("add", "-", "must be one of"),
        ("erase", "all", "action is 'erase'"),
        ("drop", " ", "needs a target"),
    ],
)
def test_impossible_actions_say_why(tmp_path, action, target, reason):
    planned(tmp_path)

    async def test(client):
        await signed_in(client)
        asked = {"action": action, "target": target}
        answer = await client.post(f"/study/{tmp_path.name}/actions", json=asked, headers=origin(client))
        assert answer.status == 400 and reason in await answer.text()

    serve(tmp_path, test)


def test_a_cell_is_added_dropped_and_queued_again(tmp_path):
    planned(tmp_path)

    async def test(client):
        await signed_in(client)

        async def act(action, target):
            asked = {"action": action, "target": target}
            answer = await client.post(f"/study/{tmp_path.name}/actions", json=asked, headers=origin(client))
            return (await answer.json())["done"]

        job = (await act("add", "PC_DARTS_cifar")).split()[-1]
        assert await act("drop", job) == f"Dropped job {job}"
        assert await act("retry", job) == f"Queued job {job} again"
        assert await act("up", job) == f"Moved job {job} up"
        answer = await client.get(f"/study/{tmp_path.name}/panels?tab=trainings")
        found = applied({}, (await answer.json())["change"])
        assert found["table"]["rows"][job]["state"] == "queued"
        assert [each["kind"] for each in found["requests"]] == ["add", "drop", "retry", "up"]

    serve(tmp_path, test)


def test_a_stream_sends_everything_once_and_then_what_changed(tmp_path):
    store, search = simulated(tmp_path), search_row(4, 7, 80.0)

    async def test(client):
        async with client.get(f"/study/{tmp_path.name}/events?tab=searches") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            events = Events(answer)
            first = await events.next()
            assert first["tiles"]["searches"] == {"completed": 6} and first["table"]["total"] == 6
            report_epochs(store, search, 2)
            state = await events.until(lambda state: state["table"]["total"] == 7)
            assert "value" not in events.change and len(json.dumps(events.change)) < len(json.dumps(first)) / 3
            assert state["table"]["rows"][search["search_id"]]["state"] == "stale"
            end(store, search)
            await events.until(lambda state: state["tiles"]["searches"] == {"completed": 7})

    serve(tmp_path, test)


def test_a_stream_resumes_where_it_broke_off(tmp_path):
    store, search = simulated(tmp_path), search_row(4, 7, 80.0)
    path = f"/study/{tmp_path.name}/events?tab=searches"

    async def test(client):
        async with client.get(path) as answer:
            events = Events(answer)
            await events.next()
        end(store, search)
        async with client.get(path, headers={"Last-Event-ID": events.last}) as answer:
            resumed = Events(answer)
            resumed.state = events.state
            state = await resumed.next()
            assert "value" not in resumed.change  # what it had is not sent again
            assert state["tiles"]["searches"] == {"completed": 7}
        async with client.get(path, headers={"Last-Event-ID": "of-an-earlier-server"}) as answer:
            fresh = Events(answer)
            assert await fresh.next() == state and "value" in fresh.change

    serve(tmp_path, test)


def test_polling_sends_the_same_changes(tmp_path):
    store, search = simulated(tmp_path), search_row(4, 7, 80.0)
    path = f"/study/{tmp_path.name}/panels?tab=searches"

    async def test(client):
        first = await (await client.get(path)).json()
        assert await (await client.get(f"{path}&since={first['id']}")).json() is None
        end(store, search)
        await asyncio.sleep(0.03)  # the least time between two looks
        second = await (await client.get(f"{path}&since={first['id']}")).json()
        state = applied(applied({}, first["change"]), second["change"])
        assert state["tiles"]["searches"] == {"completed": 7}
        # Another view of the page costs no more than what differs.
        other = await (await client.get(f"/study/{tmp_path.name}/panels?tab=overview&since={second['id']}")).json()
        assert "value" not in other["change"] and "table" in other["change"]["gone"]

    serve(tmp_path, test)


def test_an_impossible_view_is_refused_in_words(tmp_path):
    simulated(tmp_path)

    async def test(client):
        for kind in ("panels", "events"):
            answer = await client.get(f"/study/{tmp_path.name}/{kind}?tab=searches&columns=nonsense")
            assert answer.status == 400 and "no column nonsense" in await answer.text()
            assert (await client.get(f"/study/{tmp_path.name}/{kind}?page=x")).status == 400

    serve(tmp_path, test)


def test_storage_that_fails_is_said_and_forgotten_when_it_works_again(tmp_path, monkeypatch):
    simulated(tmp_path)
    broken = []
    stamps = ResultStore.stamps

    def failing(self, table):
        if broken:
            raise OSError("the disk is away")
        return stamps(self, table)

    monkeypatch.setattr(ResultStore, "stamps", failing)

    async def test(client):
        async with client.get(f"/study/{tmp_path.name}/events") as answer:
            events = Events(answer)
            assert "error" not in await events.next()
            broken.append(True)
            state = await events.until(lambda state: "error" in state)
            assert "the disk is away" in state["error"] and state["tiles"]["searches"] == {"completed": 6}
            broken.clear()
            await events.until(lambda state: "error" not in state)

    serve(tmp_path, test)


@pytest.mark.slow
def test_a_study_in_an_object_store_is_followed_and_steered(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "REMOTE_SECONDS", 0.02)
    with seaweed(tmp_path) as there:
        store, search = simulated(there.uri("studies/demo")), search_row(4, 7, 80.0)
        store.write_text("study.json", description())

        async def test(client):
            assert "demo" in await (await client.get("/studies")).text()
            await signed_in(client)
            async with client.get("/study/demo/events?tab=searches") as answer:
                events = Events(answer)
                assert (await events.next())["tiles"]["searches"]["completed"] == 6
                report_epochs(store, search, 2)
                await events.until(lambda state: search["search_id"] in state["table"]["rows"])
                asked = {"action": "seeds", "target": "71 72"}
                answered = await client.post("/study/demo/actions", json=asked, headers=origin(client))
                assert (await answered.json())["done"] == "Asked for the seeds 71, 72"
                state = await events.until(lambda state: state["requests"])
                assert [each["kind"] for each in state["requests"]] == ["seeds"]

        serve(there.uri("studies"), test)


def test_several_studies_are_listed_and_opened_by_name(tmp_path):
    for name in ("one", "two"):
        write_study(str(tmp_path / name))
    (tmp_path / "notes").mkdir()

    async def test(client):
        names = [each["name"] for each in await (await client.get("/studies")).json()]
        assert sorted(names) == ["one", "two"]
        assert (await client.get("/study/two/panels")).status == 200
        for name in ("three", "notes", "..", "%2e%2e%2fother"):
            assert (await client.get(f"/study/{name}/panels")).status == 404

    serve(tmp_path, test)


def test_cells_logs_reports_and_downloads(tmp_path):
    store = write_study(str(tmp_path))
    rows = store.rows(SEARCHES)
    failed = next(row["search_id"] for row in rows if row["status"] == "failed")
    digest = next(row["genotype_digest"] for row in rows if row["genotype_digest"])
    store.write_text(f"error-{failed}.txt", "Traceback\nRuntimeError: out of memory")
    study = f"/study/{tmp_path.name}"

    async def test(client):
        drawing = await client.get(f"{study}/cell/{digest}-normal.svg")
        assert drawing.content_type == "image/svg+xml" and "prefers-color-scheme" in await drawing.text()
        assert (await client.get(f"{study}/cell/0000000000000000-normal.svg")).status == 404
        assert "out of memory" in await (await client.get(f"{study}/log/{failed}")).text()
        assert await (await client.get(f"{study}/log/nobody")).text() == ""
        assert (await client.get(f"{study}/log/..%2fstudy.json")).status == 400
        report = await client.get(f"{study}/report")
        assert "sandbox" in report.headers["Content-Security-Policy"] and "demo" in await report.text()
        assert not (tmp_path / "report.html").exists()  # looking writes nothing
        table = await client.get(f"{study}/download/searches.csv?tab=searches&state=failed")
        assert table.headers["Content-Disposition"] == 'attachment; filename="demo-searches.csv"'
        assert len((await table.text()).splitlines()) == 2
        assert (await client.get(f"{study}/download/study.json")).status == 400

    serve(tmp_path, test)


def test_static_files_are_only_those_of_the_page(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        answer = await client.get("/static/page.js")
        assert answer.status == 200 and answer.content_type == "text/javascript"
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert (await client.get("/static/page.js", headers=tag)).status == 304
        for name in ("nothing.js", "..%2fserver.py", "page.html"):
            assert (await client.get(f"/static/{name}")).status == 404

    serve(tmp_path, test)


def test_the_charts_are_drawn_without_evaluating_text(tmp_path):
    write_study(str(tmp_path))

    async def test(client):
        answer = await client.get(f"/study/{tmp_path.name}/charts?setting=k%3D2&setting=k%3D4")
        found = await answer.json()
        assert list(found["colors"]) == ["k=2", "k=4"] and "valid_accuracy" in found["charts"]
        script = await (await client.get("/static/vega.js")).text()
        assert "vegaEmbed" in script

    serve(tmp_path, test)
