"""No test of data sets uses the network, nor files that are installed on the machine."""

import dataclasses

import pytest

from pcdarts.data import dataset_files


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(loader, root):
        raise OSError("no network")

    monkeypatch.setattr(dataset_files, "_download", refuse)
    files = dataset_files.FILES["fashion-mnist"]
    local = dataclasses.replace(files, folders=files.folders[:-1])
    monkeypatch.setitem(dataset_files.FILES, "fashion-mnist", local)
