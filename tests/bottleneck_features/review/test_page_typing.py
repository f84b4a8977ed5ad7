"""Who types faster than the page learns, or turns between mouse and keys: what is pressed is about what is seen."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from helpers.review.reviewed_page import Reviewed, surface_of
from playwright.sync_api import Request

from classify.labelling.label_log import Entry

pytestmark = pytest.mark.usefixtures("browser")
SURFACES = ["brick", "grass", "gravel"]


def rows(reviewed: Reviewed) -> Counter[str]:
    """How many rows of the table each picture has."""
    with Path(reviewed.session.log.path).open(newline="") as file:
        return Counter(row["path"] for row in csv.DictReader(file))


def test_keys_before_the_next_batch_is_there_name_nothing_twice(opened, reviewed: Reviewed) -> None:
    for name in SURFACES:
        reviewed.session.add_class(name)
    with opened(reviewed) as page:
        page.queue("ask")
        first = page.tiles()[0].partition(",")[0]
        page.page.keyboard.type("1" * 14)
        page.page.wait_for_function(
            "(name) => !document.querySelector('#tile-0').ariaLabel.startsWith(name)", arg=first
        )
        page.ready()
    assert len(rows(reviewed)) >= 10 and {*rows(reviewed).values()} == {1}


def test_enter_twice_confirms_a_page_once(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.all_called()
        page.press("Enter", "Enter")
        page.ready()
    assert {*rows(taught).values()} == {1} and len(rows(taught)) > 18


def test_what_is_taken_back_is_not_waited_for_until_it_is_learnt(opened, taught: Reviewed) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    with opened(taught) as page:
        page.queue("ask")
        page.page.on("request", note)
        page.press("z")
        page.announced("Undone: 18 pictures")
        page.ready()
    queues = [url for url in asked if "/v1/queue" in url]
    assert queues and not [url for url in queues if "after=" in url]


def test_after_a_click_on_a_class_keys_are_about_the_pictures_again(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.queue("ask")
        page.page.locator(".chip", has_text="grass").click()
        assert page.page.evaluate("document.activeElement.id") == "grid"
        page.ready()
        page.page.locator(".chip", has_text="brick").focus()
        page.press("Enter")  # by keys alone the focus stays, also when the numbers beside the classes change
        page.page.locator("#side-body .large", has_text="20 of 36").first.wait_for(state="attached")
        page.ready()
        assert page.page.evaluate("document.activeElement.textContent.includes('brick')")


def test_what_was_named_in_stacks_is_asked_like_any_other_picture(opened, reviewed: Reviewed) -> None:
    names = reviewed.session.view.pictures.names
    stacked = {number: Entry(surface_of(name), how="stack") for number, name in enumerate(names)}
    reviewed.session.put(stacked)
    reviewed.session.wait_until_learnt()
    with opened(reviewed) as page:
        page.page.locator("#side-body", has_text="What was named together does not count").wait_for()
        assert len(page.tiles()) == 10 and not [words for words in page.tiles() if "labelled" in words]
        first = page.tiles(".tile.cursor")[0].partition(",")[0]
        page.press("Enter")  # the model is right
        page.announced("1 picture")
        page.ready()
        assert "labelled" in page.tiles()[0]
    assert reviewed.session.log.entries[first].how == "asked"


@pytest.mark.parametrize(("name", "words"), [("Not sure", "key of its own"), ("GRASS", "already"), ("  ", "empty")])
def test_a_name_that_is_refused_is_named_in_the_dialog(opened, taught: Reviewed, name: str, words: str) -> None:
    with opened(taught, refused=(409, 422)) as page:
        page.page.locator("#open-names").click()
        page.page.locator("#add").fill(name)
        page.press("Enter")
        page.page.locator("#names-trouble", has_text=words).wait_for()
        assert page.page.locator("#names").is_visible()
        page.page.get_by_label("New name of brick").fill("Brick")  # the same class in other letters
        page.press("Enter")
        page.page.locator("#names-list p", has_text="Brick 6").or_(
            page.page.locator("#names-trouble[hidden]")
        ).first.wait_for(state="attached")
    assert [*taught.session.view.classes].count("Brick") == 1
