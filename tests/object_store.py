"""An S3 server on this machine, which can be busy for a while."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECRET = "a-secret-that-nobody-prints"


class Server:
    """The server; `busy` makes it answer 503."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.busy, self.refused = False, 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environment, start_response):
        if not self.busy:
            return self._app(environment, start_response)
        self.refused += 1
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def uri(self, folder: str) -> str:
        """A folder of its bucket."""
        return f"s3://studies/{folder}?endpoint_override={self.address}&scheme=http&region=us-east-1"

    def contents(self, folder: str) -> dict[str, bytes]:
        """Every object below a folder."""
        from pyarrow import fs

        files, path = fs.FileSystem.from_uri(self.uri(folder))
        found = files.get_file_info(fs.FileSelector(path, recursive=True))
        return {info.path: files.open_input_file(info.path).read() for info in found if info.type == fs.FileType.File}

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving() -> Iterator[Server]:
    """A server with a bucket, and the environment that clients need."""
    pytest.importorskip("moto.server")
    from pyarrow import fs

    names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    server = Server()
    try:
        client = fs.S3FileSystem(
            endpoint_override=server.address, scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        client.create_dir("studies")
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
