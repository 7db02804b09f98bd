"""The object store of a URI is the one that pyarrow opens; what it stores is tested against SeaweedFS."""

import pytest
from pyarrow import fs

from analysis.storage import object_creation


@pytest.mark.parametrize(
    ("uri", "kind", "path", "config"),
    [
        ("gs://bucket/a/b", "GCSStore", "bucket/a/b", {}),
        ("gs://bucket/a?endpoint_override=localhost:1&scheme=http", "GCSStore", "bucket/a", {}),
        ("abfs://box@one.dfs.core.windows.net/a", "AzureStore", "box/a", {"account_name": "one"}),
        ("abfss://one.blob.core.windows.net/box/a", "AzureStore", "box/a", {"account_name": "one"}),
        ("abfs://one@box/a", "AzureStore", "box/a", {"account_name": "one"}),
    ],
)
def test_stores_of_uris(uri, kind, path, config):
    files, found = fs.FileSystem.from_uri(uri)
    assert found == path
    store = object_creation._store(uri, path.partition("/")[0], files)
    assert type(store).__name__ == kind and store.config.items() >= config.items()


def test_an_s3_store_has_the_region_and_the_server_of_the_uri(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    uri = "s3://bucket/a?region=eu-west-3&endpoint_override=localhost:1&scheme=http"
    store = object_creation._store(uri, "bucket", fs.FileSystem.from_uri(uri)[0])
    assert (store.config["region"], store.config["endpoint_url_s3"]) == ("eu-west-3", "http://localhost:1")


def test_keys_are_those_of_the_environment_or_else_of_the_profile(tmp_path, monkeypatch):
    (tmp_path / "keys").write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n[other]\naws_access_key_id = d\nregion = x\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert object_creation._shared_credentials() == {"aws_access_key_id": "a", "aws_secret_access_key": "b%c"}
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert object_creation._shared_credentials() == {"aws_access_key_id": "d"}
    monkeypatch.setenv("AWS_PROFILE", "missing")
    assert object_creation._shared_credentials() == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert object_creation._shared_credentials() == {}


def test_a_broken_file_of_keys_is_named_without_its_content(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_PROFILE", "default")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_access_key_id = b\n")
    assert object_creation._shared_credentials() == {"aws_access_key_id": "b"}
    (tmp_path / "keys").write_text("aws_secret_access_key = hidden\n")
    with pytest.raises(ValueError, match="credentials file .*keys is broken") as caught:
        object_creation._shared_credentials()
    assert "hidden" not in str(caught.value)
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user without a home folder
    assert object_creation._shared_credentials() == {}
