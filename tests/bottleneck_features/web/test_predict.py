"""POST /v1/predict: the answers of `pipeline`, however pictures are sent; what is wrong harms nobody."""

import base64
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED
from helpers.files import hostile
from helpers.services import Client, serving
from PIL import Image

import pipeline
from bottleneck_features.web.transport.guard import HEADERS

FORM = {"picture": ("a.png", b"no picture")}


def probabilities(said: dict[str, Any], classes: list[str]) -> np.ndarray:
    """Of each answer with all its labels, in the order of the classes."""
    found = [{one["label"]: one["probability"] for one in answer["labels"]} for answer in said["answers"]]
    return np.array([[one[name] for name in classes] for one in found])


def problem(found: Any, status: int) -> dict[str, Any]:
    """A response that is a problem of that status, with the headers of every answer."""
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert all(found.headers[name.decode()] for name in HEADERS)
    said: dict[str, Any] = found.json()
    assert said.keys() >= {"type", "title", "status", "detail"} and said["status"] == status
    assert said["detail"].isprintable()
    return said


def test_answers_are_those_of_predict_proba_however_pictures_are_sent(
    client: Client, trained: Path, pictures: list[bytes]
) -> None:
    model = pipeline.load(str(trained))
    expected = model.predict_proba(pictures)
    form = client.ask(*pictures, top_k=3)
    assert [answer["name"] for answer in form["answers"]] == [str(n) for n in range(len(pictures))]
    np.testing.assert_allclose(probabilities(form, model.classes_), expected, atol=1e-6)
    assert [answer["label"] for answer in form["answers"]] == model.predict(pictures).tolist()
    sent = {"pictures": [{"name": "one", "data": base64.b64encode(one).decode()} for one in pictures]}
    said = client.post("/v1/predict?top_k=3", json=sent).json()
    np.testing.assert_allclose(probabilities(said, model.classes_), expected, atol=1e-6)
    plain = [base64.b64encode(one).decode() for one in pictures[:2]]
    assert len(client.post("/v1/predict", json={"pictures": plain}).json()["answers"]) == 2
    for kind in ({"content-type": "image/png"}, {"content-type": "application/octet-stream"}, {}):
        raw = client.post("/v1/predict?top_k=3", content=pictures[20], headers=kind).json()
        np.testing.assert_allclose(probabilities(raw, model.classes_), expected[20:21], atol=1e-6)


def test_many_clients_at_once_get_their_own_answers(client: Client, trained: Path, pictures: list[bytes]) -> None:
    expected = pipeline.load(str(trained)).predict_proba(pictures).max(axis=1)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda one: client.ask(one)["answers"][0]["probability"], pictures * 3))
    np.testing.assert_allclose(found, np.tile(expected, 3), atol=1e-6)


def test_decisions_are_those_of_top_k(client: Client, trained: Path, pictures: list[bytes]) -> None:
    images = [*pictures, (BUNDLED / "coffee.png").read_bytes()]
    table = pipeline.load(str(trained)).top_k(images, k=1, reject=0.9, accept=0.5)
    answers = client.ask(*images, reject=0.9, accept=0.5)["answers"]
    assert [answer["decision"] for answer in answers] == table["decision"].tolist()
    assert [answer["label"] for answer in answers] == table["label"].tolist()
    np.testing.assert_allclose([answer["distance"] for answer in answers], table["distance"], atol=1e-6)
    assert (
        answers[-1]["label"] is None and answers[-1]["would_be_labels"][0]["label"] == table["would_be_label"].iloc[-1]
    )
    said = problem(client.post("/v1/predict?accept=0.999", files=FORM), 422)
    assert "accept 0.999 takes" in said["detail"], "what the model does not support is said"
    assert "reject 0.999" in problem(client.post("/v1/predict?reject=0.999", files=FORM), 422)["detail"]


def test_a_damaged_picture_among_others_has_its_reason_and_alone_is_a_problem(
    client: Client, pictures: list[bytes]
) -> None:
    answers = client.ask(pictures[0], b"no picture", pictures[1])["answers"]
    assert [answer["label"] is None for answer in answers] == [False, True, False]
    assert "no image" in answers[1]["reason"]
    said = problem(client.post("/v1/predict", files=FORM), 422)
    assert said["pictures"] == [{"name": "a.png", "reason": said["detail"]}]


def test_hostile_files_harm_nobody(client: Client, pictures: list[bytes]) -> None:
    right = client.ask(pictures[0])["answers"][0]["probability"]
    kinds = [
        hostile.cut(),
        hostile.swapped(0),
        hostile.lies(),
        hostile.strange(),
        hostile.foreign(),
        hostile.small_bombs(),
    ]
    for name, content, good in (file for kind in kinds for file in kind):
        found = client.post("/v1/predict", files={"picture": (name, content)})
        assert found.status_code in (200, 413, 422), (name, found.text)
        assert good is None or (found.status_code == 200) == good, (name, found.text)
        if found.status_code != 200:
            problem(found, found.status_code)
    assert client.ask(pictures[0])["answers"][0]["probability"] == right


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (415, {"content-type": "text/html"}, b"<html>"),
        (415, {"content-type": "application/x-www-form-urlencoded"}, b"a=b"),
        (415, {"content-type": "image/png", "content-encoding": "gzip"}, b"x"),
        (400, {"content-type": "application/json"}, b"{"),
        (400, {"content-type": "application/json"}, b"[" * 200_000),
        (400, {"content-type": "application/json"}, b"9" * 10_000),
        (400, {"content-type": "application/json"}, b"\xff\xfe"),
        (422, {"content-type": "application/json"}, b"[]"),
        (422, {"content-type": "application/json"}, b'{"pictures": []}'),
        (422, {"content-type": "application/json"}, b'{"pictures": "abc"}'),
        (422, {"content-type": "application/json"}, b'{"pictures": ["***"]}'),
        (422, {"content-type": "application/json"}, b'{"pictures": [{"data": 1}]}'),
        (422, {"content-type": "application/json"}, b'{"pictures": [{"url": "http://127.0.0.1/a.png"}]}'),
        (422, {"content-type": "application/json"}, b'{"pictures": [{"path": "/etc/passwd"}]}'),
        (422, {"content-type": "application/json"}, b'{"pictures": ["/etc/passwd"]}'),
        (422, {"content-type": "application/json"}, b'{"pictures": ["http://127.0.0.1/a.png"]}'),
        (422, {"content-type": "image/png"}, b""),
        (422, {"content-type": "image/png"}, b"/etc/passwd"),
        (400, {"content-type": "multipart/form-data"}, b"x"),
        (400, {"content-type": "multipart/form-data; boundary="}, b"x"),
        (400, {"content-type": "multipart/form-data; boundary=" + 300 * "b"}, b"x"),
        (400, {"content-type": "multipart/form-data; boundary=b"}, b"no form"),
        (400, {"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n" + b"a: b\r\n" * 1000),
        (400, {"content-type": "multipart/form-data; boundary=b"}, b"--b\r\na: " + b"b" * 100_000),
        (422, {"content-type": "multipart/form-data; boundary=b"}, b"--b--\r\n"),
    ],
)  # fmt: skip
def test_bodies_of_other_kinds_are_problems(
    client: Client, status: int, headers: dict[str, str], content: bytes
) -> None:
    problem(client.post("/v1/predict", content=content, headers=headers), status)


def test_a_picture_of_more_pixels_than_are_decoded_is_413(client: Client) -> None:
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x08\x00;"
    of_a_frame = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + frame
    for data in (file.getvalue(), of_a_frame):
        assert "too many pixels" in problem(client.post("/v1/predict", content=data), 413)["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "top_k=0",
        "top_k=x",
        "reject=0",
        "reject=1",
        "reject=nan",
        "accept=2",
        "accept=x",
        "rejct=0.9",
        "top_k=2&top_k=3",
    ],
)
def test_options_that_are_not_valid_are_problems(client: Client, query: str) -> None:
    said = problem(client.post(f"/v1/predict?{query}", files=FORM), 422)
    name, _, value = query.partition("=")
    assert said["detail"].startswith(name) and (value.partition("&")[0] in said["detail"] or name == "rejct")


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("POST", "/v1/predict", "top_k, reject, accept"),
        ("POST", "/v1/heatmap", "none"),
        ("POST", "/v1/nearest", "count"),
        ("POST", "/v1/model/reload", "none"),
        ("POST", "/v1/model/restore", "none"),
        ("GET", "/v1/model", "none"),
        ("GET", "/healthz", "none"),
        ("GET", f"/v1/training/{'0' * 64}/thumbnail", "none"),
    ],
)
def test_a_parameter_that_no_route_knows_is_a_problem(
    client: Client, pictures: list[bytes], method: str, path: str, known: str
) -> None:
    said = problem(client.request(method, f"{path}?lable=walrus", content=pictures[0]), 422)
    assert said["detail"] == f"lable: no such parameter: there are {known}"


def test_a_value_that_is_not_valid_is_named_in_printable_words(client: Client) -> None:
    said = problem(client.post("/v1/nearest?count=0%0A" + "x" * 500, content=b"x"), 422)["detail"]
    assert said.startswith(r"count: '0\nxxx") and len(said) < 300


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/model", "/docs", "/openapi.json", "/assets/app.js"])
def test_monitors_may_ask_for_the_head_alone(client: Client, path: str) -> None:
    head, whole = client.head(path), client.get(path)
    assert head.status_code == 200 and not head.content
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}
    assert client.head("/v1/predict").status_code == 405 and client.head("/nothing").status_code == 404


def test_other_paths_and_methods_are_problems(client: Client) -> None:
    problem(client.get("/v1/other"), 404)
    problem(client.get("/../../etc/passwd"), 404)
    assert problem(client.get("/v1/predict"), 405) and client.get("/v1/predict").headers["allow"] == "POST"
    problem(client.request("PUT", "/healthz"), 405)


def test_limits_are_413(trained: Path, pictures: list[bytes]) -> None:
    wide = io.BytesIO()
    Image.new("L", (200, 101)).save(wide, "PNG")
    with serving(trained, max_body=100_000, max_pictures=3, max_pixels=200 * 100) as client:
        assert len(client.ask(*pictures[:3])["answers"]) == 3
        assert "3 pictures" in problem(client.post("/v1/predict", files=[("p", b"x")] * 4), 413)["detail"]
        assert problem(client.post("/v1/predict", json={"pictures": ["eA=="] * 4}), 413)
        assert problem(client.post("/v1/predict", content=b"x" * 100_001), 413)
        assert problem(client.post("/v1/predict", content=iter([b"x" * 1000] * 101)), 413), "without a length, too"
        assert "200 x 101" in problem(client.post("/v1/predict", content=wide.getvalue()), 413)["detail"]
        assert "200 x 101" in client.ask(wide.getvalue(), pictures[0])["answers"][0]["reason"]


def test_decoding_can_be_isolated(trained: Path, pictures: list[bytes]) -> None:
    wide = io.BytesIO()
    Image.new("L", (200, 101)).save(wide, "PNG")
    with serving(trained, isolate=True, max_pixels=200 * 100) as client:
        expected = pipeline.load(str(trained)).predict(pictures[:6]).tolist()
        assert [answer["label"] for answer in client.ask(*pictures[:6])["answers"]] == expected
        assert "200 x 101" in problem(client.post("/v1/predict", content=wide.getvalue()), 413)["detail"]
        assert client.service._decoder._workers, "in processes of their own"


def test_nothing_is_written_and_nobody_is_told_where_files_are(trained: Path, pictures: list[bytes]) -> None:
    def contents() -> dict[str, tuple[int, bytes]]:
        files = [path for path in trained.parent.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before, said = contents(), []
    with serving(trained) as client:
        new = io.BytesIO()
        Image.open(BUNDLED / "coffee.png").crop((0, 0, 90, 90)).save(new, "PNG")
        said.append(json.dumps(client.ask(*pictures, new.getvalue())))
        said.extend(client.get(path).text for path in ("/v1/model", "/healthz", "/openapi.json", "/docs", "/nothing"))
        said.append(client.post("/v1/predict", content=b"x").text)
    assert contents() == before
    assert not [text for text in said if str(trained.parent) in text or "site-packages" in text or ".joblib" in text]


def test_the_description_works_without_network(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "POST /v1/predict" in page.text
    assert "http:" not in page.text and "https:" not in page.text and "<script" not in page.text
    described = client.get("/openapi.json").json()
    assert {*described["paths"]} >= {"/v1/predict", "/v1/model", "/healthz", "/v1/model/reload", "/v1/model/restore"}
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")
