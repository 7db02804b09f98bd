"""What comes from elsewhere runs nothing, names stay in their folder, and secrets are not told."""

import os
import pickle

import pytest
import torch

from analysis.store import ResultStore
from orchestrator.cli import main
from orchestrator.config import StudyConfig
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.study_folder import check_writable, checkpoint, create_or_open
from pcdarts.genotype import Genotype, read_genotype

SECRET = "WdkPq81xvS3cr3t"


class Dangerous:
    """Unpickled, it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path, write, scheme):
    ran = tmp_path / "ran"
    (tmp_path / "checkpoints").mkdir()
    write({"config": Dangerous(ran)}, tmp_path / "checkpoints" / "x.pt")
    with pytest.raises(ValueError, match="broken"):
        checkpoint(f"{scheme}{tmp_path}", "x").load({})
    assert not ran.exists()


def test_a_genotype_that_would_run_a_command_is_refused(tmp_path):
    ran = tmp_path / "ran"
    call = f"__import__('os').system('touch {ran}')"
    for text in (call, f"Genotype(normal={call}, normal_concat=[2], reduce=[], reduce_concat=[2])"):
        with pytest.raises(ValueError, match="enotype"):
            Genotype.parse(text)
    (tmp_path / "cell").write_bytes(pickle.dumps(Dangerous(ran)))
    with pytest.raises(ValueError, match="enotype"):
        read_genotype(str(tmp_path / "cell"))
    queue = RetrainQueue(smoke(), create_or_open(smoke(), str(tmp_path / "smoke"), []))
    with pytest.raises(ValueError, match="enotype"):
        queue.add(call)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../x", "..", "/tmp/x", "a/b", "", ".x", "a\n", "a\x00", "~", "$HOME", "a" * 101])
def test_names_cannot_leave_the_storage_folder(tmp_path, name, capsys):
    assert main(["run", "smoke", "--study", name or " ", "--storage", str(tmp_path / "studies")]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 2 and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="study name"):
        StudyConfig.from_dict(smoke().to_dict() | {"name": name})
    store = ResultStore(str(tmp_path / "studies"))
    if len(name) < 100:
        for use in (store.read_text, lambda name: store.write_text(name, ""), store.delete_text):
            with pytest.raises(ValueError, match="name is"):
                use(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIA:{SECRET}@bucket/studies",
        f"s3://bucket/studies?secret_key={SECRET}",
        f"abfs://account:{SECRET}@container/studies",
        f"gs://bucket/studies?access_token={SECRET}",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri, capsys):
    for use in (ResultStore, check_writable):
        with pytest.raises(ValueError, match="holds credentials") as refused:
            use(uri)
        assert SECRET not in str(refused.value)
    for command in (["run", "smoke", "--storage", uri], ["report", uri], ["queue", uri], ["retrain", uri]):
        assert main(command) == 2
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
