"""Files of data sets: what is said when they are missing, and downloads."""

import multiprocessing
import pickle

import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data import dataset_files
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.sources import described, load
from tests.pcdarts.data.official_files import write_cifar

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "file", "folder", "page"),
    [
        ("cifar10", "data_batch_1", "cifar-10-batches-py", "https://www.cs.toronto.edu"),
        ("cifar100", "train", "cifar-100-python", "https://www.cs.toronto.edu"),
        ("fashion-mnist", "t10k-labels-idx1-ubyte", "FashionMNIST/raw", "https://github.com/zalando"),
    ],
)
def test_missing_files_are_named_with_what_to_do(tmp_path, name, file, folder, page):
    with pytest.raises(ValueError) as caught:
        check_dataset(SearchConfig(dataset=name, data_dir=str(tmp_path)))
    message = str(caught.value)
    assert all(part in message for part in (file, str(tmp_path / folder), page)) and message.count("\n") == 1
    assert "download failed" not in message and not any(tmp_path.iterdir())
    for batches, config in ((search_batches, SearchConfig), (retrain_batches, RetrainConfig)):
        with pytest.raises(ValueError, match="the download failed: no network"):
            batches(config(dataset=name, data_dir=str(tmp_path)), CPU)
    assert [path.name for path in tmp_path.iterdir()] == [".download.lock"]


def test_a_folder_that_cannot_be_made_is_reported_too(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="download failed.*file"):
        search_batches(SearchConfig(data_dir=str(tmp_path / "file/data")), CPU)


def test_download_is_not_tried_when_it_is_not_allowed(tmp_path):
    with pytest.raises(ValueError, match=r"cifar10 not found.*[^;]*\n"):
        search_batches(
            SearchConfig(data_dir=str(tmp_path)), CPU, data=load(SearchConfig(data_dir=str(tmp_path)), download=False)
        )
    assert not any(tmp_path.iterdir())


def _download_together(data_dir, log):
    def download(loader, root):
        with open(log, "a") as file:
            file.write(f"{loader}\n")
        write_cifar(root / "cifar-10-batches-py", 10)

    dataset_files._download = download
    search_batches(SearchConfig(data_dir=data_dir), CPU)


def test_searches_that_start_at_once_download_once(tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (str(tmp_path / "data"), str(tmp_path / "log"))
    processes = [context.Process(target=_download_together, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "CIFAR10\n"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".download.lock", "cifar-10-batches-py"]


def test_files_of_a_name_with_other_images_are_refused(tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-py", 10)
    config, _ = described(SearchConfig(data_dir=str(tmp_path)))
    assert config.data_fingerprint.startswith("50+10 images, 3x32x32, ")
    assert load(config).info.name == "cifar10"
    changed = tmp_path / "cifar-10-batches-py/test_batch"
    content = pickle.loads(changed.read_bytes())
    content["labels"] = content["labels"][::-1]
    changed.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="cifar10 in .* holds 50.10 images, 3x32x32, .* but the study began with"):
        load(config)
    assert described(SearchConfig(dataset="digits"))[0] == SearchConfig(dataset="digits")
