"""Killed at any moment of labelling: no confirmed label is lost, and no line is torn."""

import http.client
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conftest import REPOSITORY, SPEC
from reliability.conftest import Count

from classify.labelling.label_log import HEADER, labels_of

KILLS, SHARE = 100, 3
PICTURES = 36  # of `surfaces`
MOST_SPUN = 300_000  # rounds of a loop: as long as an action takes, and longer


class Page:
    """What the page of a `review` does, without the page."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=300)
        self.headers = {"authorization": f"Bearer {parts.fragment}", "content-type": "application/json"}

    def send(self, path: str, body: dict[str, Any] | None = None) -> None:
        self.connection.request("POST" if body is not None else "GET", path, json.dumps(body or {}), self.headers)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.send(path, body)
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.read()
        return dict(json.loads(answer.read()))


def action(random_: random.Random, names: dict[int, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a person says of one picture, or of many: as it is sent, and what the table says then."""
    some = random_.sample(sorted(names), random_.choice([1, 1, 1, len(names)]))
    label = random_.choice(["brick", 'gras, or "moss"', "kiesel ü", ""])
    body = {"pictures": some, "label": label} if label else {"pictures": some, "state": "not sure"}
    return {"said": [body]}, dict.fromkeys((names[number] for number in some), label)


def test_no_confirmed_label_is_lost_whenever_the_page_is_killed(
    surfaces: Path, warm_cache: Path, tmp_path: Path, seed: int, count: Count
) -> None:
    cache, table, random_ = tmp_path / "cache", tmp_path / "labels.csv", random.Random(seed)
    shutil.copytree(warm_cache, cache)
    words = ["review", "--data", surfaces, "--labels", table, "--cache-dir", cache, "--backbone", SPEC["backbone"]]
    command = [sys.executable, "-u", "-m", "pipeline", *map(str, words), "--no-browser"]
    labels: dict[str, str] = {}
    in_doubt = 0
    for _ in range(count(KILLS, SHARE)):
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process, killed(process):
            assert process.stdout
            page = Page(next(word for line in process.stdout for word in line.split() if word.startswith("http")))
            while page.ask("/v1/state")["pictures"] < PICTURES:
                pass
            shown = page.ask("/v1/queue?name=search&count=500")["pictures"]
            names = {one["picture"]: one["name"] for one in shown}
            assert {one["name"]: one["label"] for one in shown if one["label"]} == labels
            for _ in range(random_.randrange(6)):
                body, said = action(random_, names)
                page.ask("/v1/labels", body)
                labels = kept(labels | said)
            body, said = action(random_, names)
            page.send("/v1/labels", body)
            for _ in range(random_.randrange(MOST_SPUN)):
                pass
        found = labels_of(str(table))
        assert found in (labels, kept(labels | said))
        in_doubt += found != labels
        labels = found
        first, *lines = table.read_text(encoding="utf-8").splitlines()
        assert first == ",".join(HEADER) and table.read_bytes().endswith(b"\n")
        assert all(len(line) > len(",,,") for line in lines)
    print(f"{in_doubt} of the actions that were under way are in the table")


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens in the body, the process is killed then."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)


def kept(labels: dict[str, str]) -> dict[str, str]:
    return {name: label for name, label in labels.items() if label}
