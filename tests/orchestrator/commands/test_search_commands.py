"""`pcdarts search`, `split` and `selftest`."""

import dataclasses

import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.commands.search_commands import search_config
from pcdarts.genotype import Genotype
from pcdarts.presets import smoke
from pcdarts.selftest import kit
from tests.pcdarts.data.own_images import write_arrays


def test_fields_are_named_with_or_without_their_section():
    assert search_config("smoke", ["k=4", "search.order=2"]) == dataclasses.replace(smoke(), k=4, order=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k=2,4", "search.k has 2 values, but one search takes one"),
        ("retrain.epochs=2", "retrain.epochs is not a field of a search"),
        ("sweep.k=2", "sweep.k is not a field of a search"),
        ("kk=2", "kk is not a field"),
        ("k=3", "k is 3, but must be one of"),
    ],
)
def test_bad_fields_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        search_config("smoke", [text])


def test_a_search_ends_with_its_cell_and_is_resumed(tmp_path, capsys):
    argv = ["search", "--preset", "smoke", "--set", "seed=3", "--checkpoint", str(tmp_path / "search.pt")]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "epoch   1  weights and alpha" in text and "resumed after" not in text
    assert main(argv) == 0  # from the checkpoint, where all epochs are done
    again = capsys.readouterr().out
    assert "resumed after" in again and again.splitlines()[-1] == text.splitlines()[-1]
    assert str(Genotype.parse(text.splitlines()[-1])) == text.splitlines()[-1]


def test_own_images_are_looked_at_before_they_are_searched_on(tmp_path, capsys):
    path = write_arrays(tmp_path / "own.npz", size=(7, 5), channels=5, train=60, test=6)
    argv = ["search", "--preset", "smoke", "--set", "dataset=arrays", f"data_dir={path}", "epochs=1", "layers=3"]
    assert main([*argv, "warmup_epochs=0"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Images: arrays: 3 classes, 5 x 7 x 5 pixels, 60 training and 6 test images")
    assert text.splitlines()[-1].startswith("Genotype(")


def test_a_random_cell_takes_no_training(capsys):
    assert main(["search", "--preset", "smoke", "--set", "method=random"]) == 0
    assert capsys.readouterr().out.startswith("random cell of the space darts, seed 0; nothing is trained\nGenotype(")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(FloatingPointError("not finite"), 1, "error: not finite"), (KeyboardInterrupt(), 130, "--checkpoint FILE")],
)
def test_a_search_that_ends_early_says_so(error, code, text, monkeypatch, capsys):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr("pcdarts.search.search", failing)
    assert main(["search", "--preset", "smoke"]) == code and text in capsys.readouterr().err


def test_an_interrupted_search_with_a_checkpoint_names_the_command(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pcdarts.search.search", interrupted)
    file = str(tmp_path / "search.pt")
    assert main(["search", "--preset", "smoke", "--checkpoint", file]) == 130
    assert f"pcdarts search --preset smoke --checkpoint {file}" in capsys.readouterr().err


def test_the_lists_of_imagenet_are_written(tmp_path, capsys):
    for name in ("n01", "n02"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (2, 2)).save(tmp_path / "train" / name / f"{number}.JPEG")
    output = tmp_path / "lists.txt"
    assert main(["split", "--data-dir", str(tmp_path), "--output", str(output)]) == 0
    assert capsys.readouterr().out.endswith(f"to {output}; use it with --set search.split_file={output}\n")
    assert output.exists()


def test_the_self_test_takes_its_options_and_returns_its_exit_code(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(kit, "selftest", lambda options: given.append(options) or 1)
    assert main(["selftest", "--device", "cpu", "--out", str(tmp_path), "--minutes", "2"]) == 1
    assert given == [kit.Options(device="cpu", out=tmp_path, minutes=2)]
    assert main(["selftest", "--minutes", "0"]) == 2
