"""Addresses: which paths are some, which are refused, and what no message repeats."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

from cache.errors import UserError
from cache.files.path_kinds import is_url
from cache.remote.file_systems import check_address, described, file_system, without_secrets


@pytest.mark.parametrize("path", ["s3://bucket/photos", "S3://bucket", "gs://b/p", "https://host/p", "memory://photos"])
def test_addresses(path: str) -> None:
    assert is_url(path)


@pytest.mark.parametrize("path", ["photos", "/photos", "C:/photos", "s3:/bucket", "photos/s3://x", "file.zip", "://x"])
def test_paths(path: str) -> None:
    assert not is_url(path)


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:PASSWORD@bucket/photos",
        "https://name:PASSWORD@host/photos",
        "https://PASSWORD@host/photos",
        "https://host/photos/a.jpg?X-Amz-Signature=PASSWORD&X-Amz-Expires=60",
        "https://host/photos?sig=PASSWORD",
        "az://container/photos?sv=2020&sig=PASSWORD",
        "s3://bucket/a.jpg?X-Amz-Credential=PASSWORD",
        "gs://bucket/a.jpg?access_token=PASSWORD",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UserError, match="may hold no password") as refused:
        file_system(address)
    assert "PASSWORD" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "PASSWORD" not in without_secrets(f"GET {address} failed")


@pytest.mark.parametrize("address", ["abfs://container@account.dfs.core.windows.net/photos", "s3://b/what?.jpg"])
def test_addresses_without_credentials_are_not_refused(address: str) -> None:
    check_address(address)
    assert without_secrets(address) == address


def test_errors_are_one_line_without_secrets() -> None:
    error = OSError("cannot connect to\n https://name:PASSWORD@host/x?sig=PASSWORD&a=1")
    assert described(error) == "cannot connect to https://...@host/x?sig=...&a=1"
    assert described(FileNotFoundError(2, "x")) == "no such object"


def test_a_driver_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"gs:// takes a driver that is not installed here .*pip install '\.\[gcs\]'"):
        file_system("gs://bucket/photos")


def test_drivers_are_loaded_for_addresses_alone() -> None:
    code = (
        "import sys, featurize.extract.network_extractor, classify.labels.read_labels;"
        "from featurize.pictures.sources import expand; expand(['a.jpg', 'photos.zip/a.jpg']);"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
