"""Who may ask: known names and addresses, pages of this site, and whoever has the token."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.services import Client, serving

import pipeline
from cache.errors import UserError

TOKEN = "a-token-of-letters"


@pytest.fixture(scope="module")
def secret(trained: Path) -> Iterator[Client]:
    """A client, without its token, of a service that has one."""
    with serving(trained, token=TOKEN) as client:
        yield client


def status(client: Client, method: str = "GET", path: str = "/v1/model", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    found = client.request(method, path, headers=sent)
    assert found.status_code < 400 or found.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in found.headers
    return found.status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "localhost.", "[::1]:80", "192.168.0.9:1"]
)
def test_addresses_and_localhost_are_known(client: Client, host: str) -> None:
    assert status(client, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "[::1"]
)
def test_a_name_that_points_here_is_not(client: Client, host: str) -> None:
    assert status(client, host=host) == 421


def test_a_name_can_be_allowed(trained: Path) -> None:
    with serving(trained, hosts=["Pictures.example.", "192.168.0.9", "::1"]) as client:
        assert status(client, host="Pictures.example:8000") == 200
        assert status(client, host="other.example") == 421


def test_requests_without_one_host_are_refused(client: Client) -> None:
    import socket

    for lines in ("", "Host: localhost\r\nHost: localhost\r\n"):
        with socket.create_connection(("127.0.0.1", client.port)) as raw:
            raw.sendall(f"GET /healthz HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
            assert b" 400 " in raw.makefile("rb").readline()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_may_not_ask(client: Client, method: str, site: str) -> None:
    path = "/v1/model" if method == "GET" else "/v1/model/restore"
    assert status(client, method, path, sec_fetch_site=site) == 403
    assert status(client, "GET", "/healthz", sec_fetch_site=site) == 200, "a link to a page is no harm"


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null", ""])
def test_other_origins_may_not_ask(client: Client, origin: str) -> None:
    assert status(client, "POST", "/v1/model/restore", origin=origin) == 403


def test_the_own_page_may(client: Client) -> None:
    origin = f"http://127.0.0.1:{client.port}"
    assert status(client, "GET", origin=origin, sec_fetch_site="same-origin") == 200
    assert status(client, "OPTIONS", "/v1/predict", origin="http://evil.example") == 403


@pytest.mark.parametrize(
    "sent",
    [
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer",
        "Bearer other",
        f"Bearer {TOKEN}x",
        "Bearer \xe9".encode().decode("latin-1"),
    ],
)
def test_without_the_token_nobody_is_answered(secret: Client, sent: str) -> None:
    found = secret.get("/v1/model", headers={"authorization": sent.encode("latin-1")})
    assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/predict", "/v1/model/reload", "/v1/model/restore", "/v1/nothing"):
        assert secret.post(path, headers={"authorization": sent.encode("latin-1")}).status_code == 401


def test_with_the_token_any_name_will_do(secret: Client, pictures: list[bytes]) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "pictures.example"}
    assert secret.get("/v1/model", headers=headers).status_code == 200
    assert secret.post("/v1/predict", content=pictures[0], headers=headers).status_code == 200
    assert secret.get("/healthz").status_code == 200, "whether it is well is no secret"
    assert secret.get("/v1/model", headers=headers | {"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "h\xe9", 3])
def test_a_token_that_no_header_can_hold_is_refused(trained: Path, token: Any) -> None:
    with pytest.raises(UserError, match="token"):
        pipeline.create_app(str(trained), token=token)


@pytest.mark.parametrize("hosts", [3, [3], None])
def test_hosts_that_are_no_names_are_refused(trained: Path, hosts: Any) -> None:
    with pytest.raises(UserError, match=r"^hosts="):
        pipeline.create_app(str(trained), hosts=hosts)


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("https://pictures.example", "give the name alone, pictures.example"),
        ("pictures.example:8000", "give the name alone, pictures.example"),
        ("pictures.example/v1", "give the name alone, pictures.example"),
        ("", "give a name, such as pictures.example"),
        ("*.example", "give a name, such as pictures.example"),
        ("bücher.example", "give a name, such as pictures.example"),
        ("http://[", "give a name, such as pictures.example"),
    ],
)
def test_a_host_that_no_request_would_match_is_refused(
    trained: Path, run: Callable[..., tuple[int, str, str]], host: str, advice: str
) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.create_app(str(trained), hosts=["localhost", host])
    assert str(caught.value) == f"host {host!r} is not valid: {advice}"
    status, _, errors = run("serve", "--model", trained, "--allow-host", host)
    assert (status, errors) == (2, f"error: {caught.value}\n")


@pytest.mark.parametrize("options", [{"max_body": 1}, {"max_quue": 4}, {"max_seconds": 0}, {"max_queue": 1.5}])
def test_limits_that_are_none_are_refused(trained: Path, options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"max_\w+"):
        pipeline.create_app(str(trained), **options)


def test_a_model_that_is_not_there_or_loaded_already_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        pipeline.create_app(str(tmp_path / "m.joblib"))
    with pytest.raises(UserError, match="takes the path of a model"):
        pipeline.create_app(pipeline.load(str(trained)))


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_what_a_service_runs_on_is_named_where_it_lacks(trained: Path, package: str) -> None:
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from bottleneck_features.commands.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, package, "serve", "--model", trained], capture_output=True, text=True, check=False
    )
    advice = "which is not installed here: pip install '.[web]'"
    assert (done.returncode, done.stderr) == (2, f"error: this takes {package}, {advice}\n")


def test_an_empty_token_in_the_environment_does_not_open_the_service(
    trained: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTTLENECK_TOKEN", "")
    status, _, errors = run("serve", "--model", trained, "--host", "0.0.0.0")
    assert (
        status == 2
        and errors == "error: $BOTTLENECK_TOKEN is empty: put a token into it, or unset it to answer anybody\n"
    )
