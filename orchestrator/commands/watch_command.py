"""`pcdarts watch`: the live page of a study, or of several in one folder."""

import argparse
import asyncio
import contextlib
import errno
import webbrowser
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from orchestrator.commands.arguments import add_study_dir
from orchestrator.commands.parser import Parser
from orchestrator.signals import TERMINATED, Terminated

if TYPE_CHECKING:
    from aiohttp import web

PORT = 8270
TRIES = 20
"""Ports that are tried, from the first one on."""


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command."""
    watch = commands.add_parser(
        "watch",
        help="show a study in the browser while it runs, and steer it",
        description="Serve the live page of a study, or of all studies in a folder. It reads the study's folder alone: "
        "next to a running study, after its end, or on a copy.",
    )
    add_study_dir(watch, "folder or URI of a study, or of several")
    watch.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"port, or the next free one (default: {PORT})"
    )
    watch.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    watch.add_argument("--open", action="store_true", help="open the page in the browser")
    watch.add_argument(
        "--public", action="store_true", help="let everyone who reaches the address read without the token"
    )
    watch.add_argument(
        "--new-token", action="store_true", help="replace the token; addresses printed before no longer work"
    )
    watch.set_defaults(command=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.port <= 65535:
        raise ValueError(f"--port is {arguments.port}, but must be between 0 and 65535")
    code = 0
    try:
        asyncio.run(_serve(arguments))
    except KeyboardInterrupt as error:
        code = TERMINATED if isinstance(error, Terminated) else 0
    with contextlib.suppress(OSError):  # the terminal may be gone
        print("\nStopped watching.")
    return code


async def _serve(arguments: argparse.Namespace) -> None:
    from aiohttp import web

    from orchestrator.watch.access import Access, is_loopback, kept_token, names_of_this_machine
    from orchestrator.watch.reading.studies import Studies
    from orchestrator.watch.server import Server

    found = Studies(arguments.study_dir).folders()
    if not found:
        raise ValueError(
            f"{arguments.study_dir!r} holds no study; give the folder that `pcdarts run` printed, or its parent; "
            "a study that has just been started has a folder in a few seconds"
        )
    access = Access(
        token=kept_token(renew=arguments.new_token),
        public=arguments.public,
        hosts=names_of_this_machine(arguments.host),
    )
    server = Server(arguments.study_dir, access)
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        port = await _listen(runner, arguments.host, arguments.port)
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        shown = "localhost" if arguments.host in ("0.0.0.0", "::") else host
        address = f"http://{shown}:{port}/?{urlencode({'token': access.token})}"
        if arguments.port not in (0, port):
            print(f"Port {arguments.port} is taken; using {port}.")
        studies = f"{len(found)} studies in {arguments.study_dir}" if len(found) > 1 else arguments.study_dir
        print(f"Watching {studies}. Open this address; its token lets you steer the study:\n\n    {address}\n")
        if not is_loopback(arguments.host):
            readers = "read" if arguments.public else "try to read"
            print(f"Everyone who reaches {arguments.host}:{port} can {readers} it, over plain HTTP.")
        print("Press Ctrl-C to stop; the study runs on.", flush=True)
        if arguments.open:
            await asyncio.to_thread(webbrowser.open, address)
        await server.preload()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(runner: "web.AppRunner", host: str, port: int) -> int:
    """Listen on the port, or on the next free one; returns it.  Raises ValueError if none is free."""
    from aiohttp import web

    for candidate in range(port, min(port + TRIES, 65536)) if port else (0,):
        site = web.TCPSite(runner, host, candidate)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            if error.errno == errno.EADDRINUSE:
                continue
            raise ValueError(
                f"cannot listen on {host}:{candidate} ({error.strerror or error}); give another --host or --port"
            ) from None
        return int(runner.addresses[0][1])
    raise ValueError(f"ports {port} to {port + TRIES - 1} of {host} are taken; give another --port")
