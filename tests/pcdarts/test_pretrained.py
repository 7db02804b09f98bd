"""Networks as folders: config.json, weights, images, and models of a hub on loopback."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image

from pcdarts.fast.fast_network import FastNetwork
from pcdarts.network import CellNetwork
from pcdarts.pretrained import ImageInput
from tests.pcdarts.export.networks import images, make

RGB = ImageInput(height=8, width=8, shorter_side=8, mean=(0.5,) * 3, std=(0.25,) * 3, labels=("a", "b", "c", "d", "e"))


def saved(folder, expected=RGB, **values):
    network = make(**values).eval()
    network.images = expected
    network.save_pretrained(folder)
    return network


def test_a_folder_holds_the_network_and_what_it_takes(tmp_path):
    network = saved(tmp_path / "new" / "out")
    again = CellNetwork.from_pretrained(tmp_path / "new" / "out")
    assert (again.genotype, again.sizes, again.images) == (network.genotype, network.sizes, RGB)
    assert again.labels == RGB.labels and torch.equal(again(images()), network(images()))
    again.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "new" / "out" / name).read_bytes()


def test_the_fast_network_reads_the_same_folder(tmp_path):
    network = saved(tmp_path)
    fast = FastNetwork.from_pretrained(str(tmp_path))
    assert isinstance(fast, FastNetwork)
    assert torch.allclose(fast(images()), network(images()), rtol=1e-4, atol=1e-5)


def test_pillow_images_become_batches(tmp_path):
    saved(tmp_path)
    network = CellNetwork.from_pretrained(tmp_path)
    white = Image.new("RGB", (20, 12), "white")
    assert torch.equal(network.preprocess(white, white.convert("L")), torch.full((2, 3, 8, 8), 2.0))
    halves = Image.new("L", (8, 8))
    halves.paste(255, (0, 0, 8, 4))  # the upper half
    (batch,) = network.preprocess(halves)
    assert batch[:, :4].unique().tolist() == [2.0] and batch[:, 4:].unique().tolist() == [-2.0]
    wide = ImageInput(height=2, width=6, shorter_side=4, mean=(0.0,), std=(1.0,))
    assert wide.batch(white).shape == (1, 1, 2, 6)
    assert torch.equal(wide.batch(Image.new("L", (6, 2), 255)), torch.ones(1, 1, 2, 6))


def test_a_network_that_does_not_know_its_images_says_so(tmp_path):
    saved(tmp_path, None)
    network = CellNetwork.from_pretrained(tmp_path)
    assert network.labels == ()
    with pytest.raises(ValueError, match="no description of its images; normalize"):
        network.preprocess(Image.new("L", (8, 8)))
    four = ImageInput(height=8, width=8, shorter_side=8, mean=(0.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(ValueError, match="takes 4 channels"):
        four.batch(Image.new("L", (8, 8)))


def test_what_is_no_network_is_refused(tmp_path):
    saved(tmp_path / "good")
    config, weights = ((tmp_path / "good" / name) for name in ("config.json", "model.safetensors"))
    for content, message in (
        ("broken", "is no exported network .*Expecting value"),
        (json.dumps({**json.loads(config.read_text()), "layers": 4}), "not those of 4 cells"),
        (json.dumps({**json.loads(config.read_text()), "classes": "x"}), "not those of 3 cells"),
        (json.dumps({"genotype": {}}), "is no exported network"),
        (json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "stem"}), "'stem' is missing"),
    ):
        before = config.read_text()
        config.write_text(content)
        with pytest.raises(ValueError, match=message):
            CellNetwork.from_pretrained(tmp_path / "good")
        config.write_text(before)
    weights.write_bytes(b"broken")
    for folder in (tmp_path / "good", tmp_path):
        with pytest.raises(ValueError, match="is no exported network"):
            CellNetwork.from_pretrained(folder)
    for name in (str(tmp_path / "missing"), tmp_path / "missing", "missing", "hf://only"):
        with pytest.raises(ValueError, match="is neither a folder nor a model of the Hugging Face hub"):
            CellNetwork.from_pretrained(name)


def test_the_hub_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'pcdarts-orchestrator\[hub\]'"):
        CellNetwork.from_pretrained("hf://owner/name")


class Hub(BaseHTTPRequestHandler):
    """The requests by which a client of the hub takes the files of a model."""

    folder, commit = None, "0" * 40

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/owner/name/resolve/"):
            body = (self.folder / path.rpartition("/")[2]).read_bytes()
            self._answer(body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": self.commit})
        else:
            self.send_error(404)

    def _answer(self, body, headers):
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """Address of a hub on loopback that holds the model owner/name, and the model."""
    (tmp_path / "model").mkdir()
    network = saved(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("not needed")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Hub,), {"folder": tmp_path / "model"}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", network
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["hf://owner/name", "owner/name"])
def test_a_model_of_the_hub_is_downloaded(name, hub, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="needs the extra hub: pip install -e '.[hub]'")
    import huggingface_hub

    address, network = hub
    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *args, **kwargs: download(*args, **kwargs, endpoint=address, cache_dir=tmp_path / "cache"),
    )
    again = CellNetwork.from_pretrained(name)
    assert again.images == RGB and torch.equal(again(images()), network(images()))
    assert not list((tmp_path / "cache").rglob("README.md"))
    with pytest.raises(ValueError, match="owner/other cannot be read from the Hugging Face hub"):
        CellNetwork.from_pretrained("hf://owner/other")
