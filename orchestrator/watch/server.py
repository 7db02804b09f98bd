"""The web server of the live page: one page and one stream for each study, and the files they need."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from functools import cache, partial
from importlib import resources

import jinja2
from aiohttp import web

from analysis.drawing import cell_svg
from analysis.drawing.cell_layout import layout
from analysis.figures.script import vega_script
from analysis.storage.storage_retry import first_line
from orchestrator.watch import curves
from orchestrator.watch.access import PAGE_POLICY, PICTURE_POLICY, REPORT_POLICY, Access, allows_origin
from orchestrator.watch.actions import act
from orchestrator.watch.downloads import TYPES, download, end_of
from orchestrator.watch.panels import column_list
from orchestrator.watch.reading.studies import Studies
from orchestrator.watch.rows import ROWS
from orchestrator.watch.streams import LiveStudy, message
from orchestrator.watch.view import View
from pcdarts.genotype import Genotype

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STATIC = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
SILENCE = 15.0
"""Seconds after which a stream without news says that it lives."""
REPORT_SECONDS = 60.0
"""A report is at least so old before it is made again."""
MAY_ACT = web.RequestKey("may_act", bool)
LARGEST_REQUEST = 64 * 1024
DARK = """<style>
svg { color: #1c2127; }
@media (prefers-color-scheme: dark) { svg { color: #e4e8ec; --cell-line: #77828e; --cell-conv: #6aa9ee;
  --cell-dilated: #b994ea; --cell-pool: #e0a050; --cell-skip: #63c08c; --cell-other: #a0a0a0; } }
</style>"""
"""Colors of a drawing, which as an image does not see the page's."""


class Server:
    """Serves the studies of one place."""

    def __init__(self, root: str, access: Access) -> None:
        self.studies, self.access = Studies(root), access
        self._live: dict[str, LiveStudy] = {}
        self._reports: dict[str, tuple[float, str]] = {}
        self._building: dict[str, asyncio.Future[str]] = {}
        self._closing = asyncio.Event()
        self._charts: dict[tuple[str, ...], str] = {}

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_REQUEST)
        study = "/study/{name}"
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/studies", self._list),
                web.get("/static/{file}", self._static),
                web.get(f"{study}/", self._page),
                web.get(f"{study}/events", self._events),
                web.get(f"{study}/panels", self._panels),
                web.get(f"{study}/charts", self._chart_specs),
                web.get(f"{study}/columns", self._columns),
                web.get(f"{study}/download/{{file}}", self._download),
                web.get(f"{study}/cell/{{file}}", self._cell),
                web.get(f"{study}/log/{{key}}", self._log),
                web.get(f"{study}/report", self._report),
                web.post(f"{study}/actions", self._act),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def preload(self) -> None:
        """Read a single study, and load what draws the charts, before a page asks for them."""
        folders = await asyncio.to_thread(self.studies.folders)
        if len(folders) == 1:
            ((name, root),) = folders.items()
            await self._live.setdefault(name, LiveStudy(root)).answer(View())
        await asyncio.to_thread(vega_script)
        await asyncio.to_thread(curves.specs, [])  # imports Altair

    async def _close(self, app: web.Application) -> None:
        self._closing.set()
        for study in self._live.values():
            study.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not allowed, and add the headers of every answer."""
        access = self.access
        if not access.allows_host(request.host):
            return _refused(f"This server does not answer to the name {request.host.partition(':')[0][:100]!r}.")
        name = f"pcdarts-watch-{request.url.port or 80}"
        given = request.query.get("token")
        if given is not None and request.method == "GET" and access.is_token(given):
            there = web.HTTPSeeOther(request.rel_url.without_query_params("token"))
            there.set_cookie(name, access.cookie, httponly=True, samesite="Strict", path="/")
            _with_headers(there)
            raise there
        cookie = request.cookies.get(name, "")
        if request.method in ("GET", "HEAD"):
            if not access.may_read(cookie):
                return _refused("Open the address that `pcdarts watch` printed: it holds the token.")
        elif not access.may_act(cookie):
            return _refused("Actions need the token: open the address that `pcdarts watch` printed.")
        elif not allows_origin(request.headers.get("Origin"), request.host):
            return _refused("This request does not come from a page of this server.")
        request[MAY_ACT] = access.may_act(cookie)
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            _with_headers(error)
            raise
        except ValueError as error:
            answer = web.Response(status=400, text=first_line(error))
        except OSError as error:
            answer = web.Response(status=503, text=f"The storage cannot be read: {first_line(error)}")
        return answer if answer.prepared else _with_headers(answer)

    async def _study(self, request: web.Request) -> LiveStudy:
        name = request.match_info["name"]
        if name not in self._live:
            folders = await asyncio.to_thread(self.studies.folders)
            if name not in folders:
                raise web.HTTPNotFound(text=f"There is no study {name!r} here.")
            self._live.setdefault(name, LiveStudy(folders[name]))
        return self._live[name]

    async def _home(self, request: web.Request) -> web.StreamResponse:
        if await asyncio.to_thread(lambda: self.studies.single):
            (name,) = await asyncio.to_thread(self.studies.folders)
            raise web.HTTPFound(request.rel_url.with_path(f"/study/{name}/"))
        return _html("list.html", root=self.studies.root.partition("?")[0])

    async def _list(self, request: web.Request) -> web.Response:
        entries = await asyncio.to_thread(self.studies.entries)
        return web.json_response([vars(entry) for entry in entries])

    async def _page(self, request: web.Request) -> web.Response:
        study = await self._study(request)
        single = study.root == self.studies.root
        return _html("page.html", name=request.match_info["name"], may_act=request[MAY_ACT], single=single)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        study, view = await self._study(request), View.of(request.query)
        since = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        answer = await study.answer(view, since)  # an impossible view is refused here
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        _with_headers(stream)
        await stream.prepare(request)
        await stream.write(b"retry: 1000\n\n: open\n\n")
        silent_since = time.monotonic()
        while not self._closing.is_set():
            if answer is not None:
                since = answer["id"]
                await stream.write(message(answer))
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENCE:
                await stream.write(b": still here\n\n")  # raises ConnectionError if the page is gone
                silent_since = time.monotonic()
            try:
                await asyncio.wait_for(self._closing.wait(), study.interval)
            except TimeoutError:
                answer = await study.answer(view, since)
        return stream

    async def _panels(self, request: web.Request) -> web.Response:
        study = await self._study(request)
        answer = await study.answer(View.of(request.query), request.query.get("since", ""))
        return _compressed(web.json_response(answer))

    async def _chart_specs(self, request: web.Request) -> web.Response:
        settings = tuple(request.query.getall("setting", []))[: curves.MAX_BANDS]
        if settings not in self._charts:
            if len(self._charts) > 50:
                self._charts.clear()
            self._charts[settings] = json.dumps(await asyncio.to_thread(curves.specs, list(settings)))
        return _compressed(web.Response(text=self._charts[settings], content_type="application/json"))

    async def _columns(self, request: web.Request) -> web.Response:
        tab = request.query.get("tab", "")
        if tab not in ROWS:
            raise ValueError(f"tab is {tab!r}, but must be one of {', '.join(ROWS)}")
        return web.json_response(column_list(tab))

    async def _download(self, request: web.Request) -> web.Response:
        what, _, form = request.match_info["file"].rpartition(".")
        study, view = await self._study(request), View.of(request.query)
        snapshot = await study.snapshot()
        data = await study.call(partial(download, snapshot, what, form, view))
        name = re.sub(r"[^\w.-]", "_", f"{snapshot.name}-{what}.{form}", flags=re.ASCII)
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": TYPES[form]}
        return web.Response(body=data, headers=headers)

    async def _cell(self, request: web.Request) -> web.Response:
        found = re.fullmatch(r"([0-9a-f]{16})-(normal|reduce)\.svg", request.match_info["file"])
        if not found:
            raise web.HTTPNotFound(text="There is no such cell.")
        snapshot = await (await self._study(request)).snapshot()
        for frame in (snapshot.searches, snapshot.queue):
            texts = frame.loc[frame["genotype_digest"] == found[1], "genotype"].dropna()
            if len(texts):
                return web.Response(
                    text=_drawing(str(texts.iloc[0]), found[2]),
                    content_type="image/svg+xml",
                    headers={"Content-Security-Policy": PICTURE_POLICY, "Cache-Control": "private, max-age=86400"},
                )
        raise web.HTTPNotFound(text="There is no such cell.")

    async def _log(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if not re.fullmatch(r"[\w.=-]{1,200}", key, flags=re.ASCII):
            raise ValueError(f"key is {key[:50]!r}, but must be that of a search or a job")
        study = await self._study(request)
        text = await study.call(lambda: study.reader.store.read_text(f"error-{key}.txt"))
        return web.Response(text=end_of(text or ""))  # most searches have none

    async def _report(self, request: web.Request) -> web.Response:
        study = await self._study(request)
        made_at, text = self._reports.get(study.root, (float("-inf"), ""))
        if time.monotonic() - made_at > REPORT_SECONDS:
            if study.root not in self._building:
                self._building[study.root] = asyncio.ensure_future(asyncio.to_thread(_report_page, study.root))
            building = self._building[study.root]
            try:
                text = await asyncio.shield(building)
            finally:
                if building.done():
                    self._building.pop(study.root, None)
            self._reports[study.root] = time.monotonic(), text
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return _compressed(web.Response(text=text, content_type="text/html", headers=headers))

    async def _act(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise ValueError("the request must be application/json")
        given = await request.json()
        if not isinstance(given, dict):
            raise ValueError("the request must be an object with action and target")
        study = await self._study(request)
        done = await study.call(partial(act, study.root, str(given.get("action", "")), str(given.get("target", ""))))
        return web.json_response({"done": done})

    async def _static(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name == "vega.js":
            text = await asyncio.to_thread(vega_script)
        elif (found := _static_file(name)) is None:
            raise web.HTTPNotFound(text="There is no such file.")
        else:
            text = found
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        kind = STATIC[name.rpartition(".")[2]]
        return _compressed(web.Response(text=text, content_type=kind, headers=headers))


def _with_headers(answer: web.StreamResponse) -> web.StreamResponse:
    answer.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return answer


def _refused(reason: str) -> web.StreamResponse:
    return _with_headers(web.Response(status=403, text=f"{reason}\n"))


def _compressed(answer: web.Response) -> web.Response:
    answer.enable_compression()
    return answer


def _html(template: str, **values: object) -> web.Response:
    return web.Response(text=_templates().get_template(template).render(**values), content_type="text/html")


@cache
def _templates() -> jinja2.Environment:
    folder = resources.files("orchestrator.watch") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def _static_file(name: str) -> str | None:
    """The text of a file of the folder static; None if there is none."""
    file = resources.files("orchestrator.watch") / "static" / name
    known = re.fullmatch(r"[a-z]+\.(css|js|svg)", name)
    return file.read_text("utf-8") if known and file.is_file() else None


def _drawing(text: str, kind: str) -> str:
    genotype = Genotype.parse(text)
    normal = kind == "normal"
    cell, concat = (genotype.normal, genotype.normal_concat) if normal else (genotype.reduce, genotype.reduce_concat)
    drawn = cell_svg.draw(layout(cell, concat), f"{'Normal' if normal else 'Reduction'} cell")
    start = drawn.index(">") + 1
    return f"{drawn[:start]}{DARK}{drawn[start:]}"


def _report_page(root: str) -> str:
    from analysis.report.build import build, page
    from analysis.store import ResultStore
    from analysis.study_data import StudyData

    return page(build(StudyData(store=ResultStore(root))))
