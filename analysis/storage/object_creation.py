"""Objects that are created only if they do not exist, which pyarrow cannot do: obstore sends the condition.

S3 (and servers that speak its protocol), Google Cloud Storage and Azure check the condition themselves, so of several
writers at once one succeeds.  Credentials come from the environment variables that pyarrow reads, from the machine's
role, and for S3 from the shared credentials file.
"""

import configparser
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

from analysis.storage.storage_retry import first_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

Create = Callable[[str, bytes], None]
"""Writes an object of a pyarrow path, bucket/key.  Raises FileExistsError if it exists, and OSError if that fails."""


def object_creator(uri: str, files: fs.FileSystem, bucket: str) -> Create:
    """What creates objects in a bucket of the store that `uri` names and `files` has opened.

    Raises ValueError for a storage of a kind that cannot create files conditionally, and for broken credentials.
    """
    import obstore  # takes longer than most commands need, and only object stores need it
    from obstore import exceptions

    try:
        store = _store(uri, bucket, files)
    except exceptions.BaseError as error:
        raise ValueError(f"object store {uri!r} cannot be opened: {first_line(error)}") from None

    def create(path: str, data: bytes) -> None:
        try:
            obstore.put(store, path.partition("/")[2], data, mode="create", use_multipart=False)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise FileExistsError(path) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise PermissionError(first_line(error)) from None
        except exceptions.BaseError as error:
            raise OSError(first_line(error)) from None

    return create


def _store(uri: str, bucket: str, files: fs.FileSystem) -> "ObjectStore":
    from obstore.store import AzureStore, GCSStore, S3Store

    parts, options = urlsplit(uri), dict(parse_qsl(urlsplit(uri).query))
    settings: dict[str, Any] = {"client_options": {"allow_http": True}, "retry_config": _retries()}
    endpoint = options.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    if parts.scheme == "s3":
        settings |= {"region": files.region, **_shared_credentials()}
        settings |= {"aws_endpoint_url_s3": endpoint} if endpoint else {}  # so the environment's does not come first
        return S3Store(bucket, virtual_hosted_style_request=False, **settings)
    if parts.scheme in ("gs", "gcs"):
        settings |= {"base_url": endpoint} if endpoint else {}
        return GCSStore(bucket, **settings)
    if parts.scheme in ("abfs", "abfss"):
        host = parts.hostname or ""
        account = host.partition(".")[0] if "." in host else parts.username
        settings |= {"account_name": account} if account else {}
        return AzureStore(bucket, **settings)
    raise ValueError(
        f"storage of the kind {parts.scheme}:// cannot create a file only if it is new, by which one process at a time "
        "gets a study; give --storage a folder, or a URI that begins with s3://, gs:// or abfs://"
    )


def _retries() -> "RetryConfig":
    """Few retries: `patiently` does the others, and records them."""
    backoff: Any = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2}
    return {"max_retries": 2, "backoff": backoff, "retry_timeout": timedelta(seconds=10)}


def _shared_credentials() -> dict[str, str]:
    """The keys in the credentials file of AWS, of the profile AWS_PROFILE; none if the environment has keys.

    Raises ValueError for a file that cannot be read as one.
    """
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    path = os.path.expanduser(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    file = configparser.RawConfigParser(strict=False)  # of equal names the last counts
    try:
        file.read(path)
    except (configparser.Error, UnicodeDecodeError):  # their texts show a line of the file
        raise ValueError(f"credentials file {path} is broken; mend it, or put the keys into the environment") from None
    profile = os.environ.get("AWS_PROFILE", "default")
    return {name: file[profile][name] for name in names if file.has_option(profile, name)}
