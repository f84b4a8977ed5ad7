"""Several processes: uvicorn's, which are spawned, gunicorn's, which are forked, and a fork of one's own."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from helpers.services import PATIENCE, command

CONNECTION = "bottleneck_features.web.transport.connections:Connection"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")


def asked(url: str, pictures: list[bytes]) -> None:
    """Each picture over a connection of its own, so that every worker may come to answer."""
    for picture in pictures[:12]:
        found = httpx.post(f"{url}/v1/predict", content=picture, timeout=PATIENCE, trust_env=False)
        assert found.status_code == 200 and found.json()["answers"][0]["label"], found.text


def module(folder: Path, model: Path) -> None:
    (folder / "deployed.py").write_text(f"import pipeline\n\napp = pipeline.create_app({str(model)!r})\n")


def test_several_processes_share_a_port(trained: Path, pictures: list[bytes]) -> None:
    with command("serve", "--model", str(trained), "--port", "0", "--workers", "2") as service:
        asked(service.url, pictures)
        one = httpx.post(f"{service.url}/v1/model/reload", timeout=PATIENCE, trust_env=False)
        assert one.status_code == 409 and "SIGHUP" in one.json()["detail"]
        service.process.send_signal(signal.SIGHUP)
        asked(service.url, pictures)
        assert service.stop() == 0 and "in flight is answered" in service.lines[-1]


def test_a_model_that_no_process_can_load_ends_all(tmp_path: Path) -> None:
    damaged = tmp_path / "m.joblib"
    damaged.write_bytes(b"no model")
    with command("serve", "--model", str(damaged), "--port", "0") as service:
        assert service.stop(0) == 2 and "error: " in service.lines[-1]
    with command("serve", "--model", str(damaged), "--port", "0", "--workers", "2") as service:
        assert service.stop(0) == 1
        assert "Traceback" not in "".join(service.lines)


def test_uvicorn_takes_the_application(trained: Path, pictures: list[bytes], tmp_path: Path) -> None:
    module(tmp_path, trained)
    with command("deployed:app", "--port", "0", "--http", CONNECTION, module="uvicorn", folder=tmp_path) as service:
        asked(service.url, pictures)
        service.stop()


@pytest.mark.skipif(not find_spec("gunicorn.workers.gasgi"), reason="this gunicorn has no worker for ASGI")
@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_gunicorn_forks_workers(trained: Path, pictures: list[bytes], tmp_path: Path, options: tuple[str, ...]) -> None:
    module(tmp_path, trained)
    words = ("deployed:app", "-k", "asgi", "-w", "2", "-b", "127.0.0.1:0", *options)
    with command(*words, module="gunicorn", folder=tmp_path) as service:
        asked(service.url, pictures)
        assert service.stop() == 0


def test_an_application_from_before_a_fork_loads_in_the_child(
    trained: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    """The parent has loaded, and answers, too: what it started does not reach the child."""
    (tmp_path / "picture.png").write_bytes(pictures[0])
    story = f"""
import asyncio, os, sys
import pipeline

async def labelled(app):
    sent = []
    data = open({str(tmp_path / "picture.png")!r}, "rb").read()
    messages = [{{"type": "http.request", "body": data}}]
    async def receive():
        return messages.pop() if messages else await asyncio.Event().wait()
    async def send(message):
        sent.append(message)
    headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
    scope = dict(type="http", method="POST", path="/v1/predict", raw_path=b"/v1/predict", query_string=b"",
                 root_path="", headers=headers, http_version="1.1", scheme="http", client=("::1", 1), server=("::1", 2))
    await app(scope, receive, send)
    return sent[0]["status"]

app = pipeline.create_app({str(trained)!r})
if sys.argv[1] == "loaded":
    assert asyncio.run(labelled(app)) == 200
child = os.fork()
if not child:
    os._exit(0 if asyncio.run(labelled(app)) == 200 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert asyncio.run(labelled(app)) == 200
"""
    (tmp_path / "story.py").write_text(story)
    for state in ("fresh", "loaded"):
        with command(state, module="story", folder=tmp_path) as process:
            assert process.process.wait(PATIENCE) == 0, process.lines
