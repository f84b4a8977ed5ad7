"""What the page asks for, asked without it: who may ask, what never leaves, how names come back."""

import csv
import io
import struct
from pathlib import Path

import pytest
from helpers.review.reviewed_page import TOKEN, Reviewed, surface_of
from PIL import Image

from bottleneck_features.commands.deploy_commands import QUEUES
from bottleneck_features.review.queue_pages import NAMES
from classify.labelling.label_log import NOT_SURE, Entry

ASKED = [("GET", "/v1/state"), ("GET", "/v1/queue?name=ask"), ("POST", "/v1/undo"), ("GET", "/v1/picture/0"),
         ("POST", "/v1/train"), ("POST", "/v1/export"), ("GET", "/v1/work"), ("POST", "/v1/thumbnails")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": None}, 401),
        ({"authorization": "Bearer another"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_nobody_else_is_answered(
    shared_reviewed: Reviewed, method: str, path: str, headers: dict[str, str | None], status: int
) -> None:
    assert shared_reviewed.ask(method, path, headers=headers).status_code == status


def test_a_name_that_was_made_to_point_here_is_not_answered(shared_reviewed: Reviewed) -> None:
    answer = shared_reviewed.ask("GET", "/", headers={"host": "rebound.example"})
    assert answer.status_code == 421 and "Label photographs" not in answer.text


def test_the_page_has_the_policy_of_the_report_and_nothing_of_the_pictures(shared_reviewed: Reviewed) -> None:
    answer = shared_reviewed.ask("GET", "/", headers={"authorization": None})
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    assert "brick" not in answer.text and TOKEN not in answer.text
    assert shared_reviewed.ask("GET", "/assets/app.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../application.py",
        "/assets/..%2fapplication.py",
        "/assets/%2e%2e/session.py",
        "/assets/index.html",
        "/assets//etc/passwd",
        "/v1/picture/..%2f..%2fetc%2fpasswd",
        "/v1/picture/-1",
        "/v1/picture/36",
        "/v1/picture/99999999999999999999",
        "/report/",
        "/report/guess",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_other_file_can_be_asked_for(shared_reviewed: Reviewed, path: str) -> None:
    assert shared_reviewed.ask("GET", path).status_code in (404, 405, 422)


def test_labels_are_of_pictures_that_are_there_and_states_are_known(reviewed: Reviewed) -> None:
    def put(**said: object) -> int:
        return reviewed.ask("POST", "/v1/labels", json={"said": [said]}).status_code

    assert put(pictures=[36], label="brick") == 404
    assert put(pictures=[-1], label="brick") == 422
    assert put(pictures=[], label="brick") == 422
    assert put(pictures=[0], state="perhaps") == 422
    assert put(pictures=[0], label="brick", state=NOT_SURE) == 422
    assert put(pictures=[0], label="x" * 121) == 422
    assert not reviewed.session.log.entries


def test_what_is_no_action_is_refused_without_repeating_all_of_it(shared_reviewed: Reviewed) -> None:
    for said in (["x" * 100_000] * 500, {"a": ["x" * 100_000] * 50}, "x" * 100_000):
        answer = shared_reviewed.ask("POST", "/v1/labels", json={"said": said})
        assert answer.status_code == 422 and "is not valid" in answer.json()["detail"] and len(answer.text) < 2500


def test_one_action_says_different_things_of_different_pictures(reviewed: Reviewed) -> None:
    said = [{"pictures": [0, 1], "label": "  brick\u200b "}, {"pictures": [2], "state": NOT_SURE}]
    answer = reviewed.ask("POST", "/v1/labels", json={"said": said, "how": "named"}).json()
    assert [(one["label"], one["state"]) for one in answer["pictures"]] == [("brick", "")] * 2 + [("", NOT_SURE)]
    undone = reviewed.ask("POST", "/v1/undo").json()
    assert undone["total"] == 3 and not reviewed.session.log.labels
    assert reviewed.ask("POST", "/v1/undo").json()["total"] == 0


def test_names_with_signs_of_html_and_formulas_are_data(reviewed: Reviewed, tmp_path: Path) -> None:
    name = '<img src=x onerror=alert(1)>, "quoted" =1+1'
    reviewed.ask("POST", "/v1/labels", json={"said": [{"pictures": [3], "label": name}]})
    answer = reviewed.ask("GET", "/v1/queue", params={"name": "search", "label": name})
    assert answer.headers["content-type"] == "application/json" and answer.json()["pictures"][0]["label"] == name
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == [name]


def test_a_class_that_a_table_came_with_keeps_its_name(taught: Reviewed) -> None:
    for name, status in (("not sure", 422), ("GRASS", 409)):
        said = {"said": [{"pictures": [0], "label": name}]}
        assert taught.ask("POST", "/v1/labels", json=said).status_code == status
        taught.session.put({20: Entry(name, how="of a table")})
        assert taught.ask("POST", "/v1/labels", json=said).status_code == 200


def test_a_deleted_class_leaves_its_pictures_to_be_asked(taught: Reviewed) -> None:
    assert taught.ask("POST", "/v1/rename", json={"old": "brick"}).json()["total"] > 0
    view = taught.session.view
    assert "brick" not in view.classes and not (view.states != "").any()
    assert view.settled.sum() == view.labelled.sum()


def test_the_command_can_open_every_queue_that_needs_no_picture() -> None:
    assert {*QUEUES} == {*NAMES} - {"like"}


@pytest.mark.parametrize("name", NAMES)
def test_every_queue_answers_or_says_what_is_missing(reviewed: Reviewed, name: str) -> None:
    query = {"name": name, "picture": 0, "label": "brick"}
    first = reviewed.ask("GET", "/v1/queue", params=query if name != "search" else {"name": name})
    assert first.status_code == (409 if name in ("confirm", "doubt", "mistakes") else 200)
    if first.status_code == 200:
        assert first.json()["total"] > 0 or name == "ask"
    else:
        assert "label pictures of two classes first" in first.json()["detail"]


def test_unknown_queues_classes_and_pictures_are_named(taught: Reviewed) -> None:
    for query, word in [
        ({"name": "asks"}, "did you mean ask"),
        ({"name": "confirm", "label": "brik"}, "did you mean brick"),
        ({"name": "like", "picture": 99}, "no picture 99"),
    ]:
        answer = taught.ask("GET", "/v1/queue", params=query)
        assert answer.status_code == 404 and word in answer.json()["detail"]


def test_thumbnails_come_in_the_order_asked_and_full_pictures_whole(reviewed: Reviewed, flat: Path) -> None:
    names = reviewed.session.view.pictures.names
    (flat / names[1]).unlink()
    body = reviewed.ask("POST", "/v1/thumbnails", json={"pictures": [2, 1, 0]}).content
    lengths = []
    while body:
        (length,) = struct.unpack("<I", body[:4])
        lengths.append(length)
        if length:
            assert Image.open(io.BytesIO(body[4 : 4 + length])).size == (128, 128)
        body = body[4 + length :]
    assert [bool(length) for length in lengths] == [True, False, True]
    full = reviewed.ask("GET", "/v1/picture/0")
    assert full.headers["content-type"] == "image/webp" and Image.open(io.BytesIO(full.content)).size == (128, 128)
    assert reviewed.ask("GET", "/v1/picture/1").status_code == 410
    about = reviewed.ask("GET", "/v1/picture/0/about").json()
    assert about["name"] == names[0] and (about["width"], about["format"]) == (128, "PNG")
    assert reviewed.ask("GET", "/v1/picture/1/about").json() == {"name": names[1]}


def test_what_is_kept_is_doubted_no_more(taught: Reviewed) -> None:
    session = taught.session
    names = session.view.pictures.names
    entries = {number: Entry(surface_of(name)) for number, name in enumerate(names)}
    entries[wrong := names.index("brick.5.png")] = Entry("gravel")
    session.put(entries)
    session.wait_until_learnt()
    doubted = taught.ask("GET", "/v1/queue?name=doubt").json()
    assert doubted["suggested"][str(wrong)]["label"] == "brick"
    taught.ask("POST", "/v1/labels", json={"said": [{"pictures": [wrong], "label": "gravel"}], "how": "kept"})
    assert str(wrong) not in taught.ask("GET", "/v1/queue?name=doubt").json()["suggested"]
    session.wait_until_learnt()
    assert str(wrong) not in taught.ask("GET", "/v1/queue?name=doubt").json()["suggested"]
