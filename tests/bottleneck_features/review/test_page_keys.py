"""Every queue of the page by keyboard alone, in a real browser; what is pressed stands in the table."""

import pytest
from helpers.review.reviewed_page import Opened, Reviewed, surface_of
from playwright.sync_api import Route

from bottleneck_features.review.side import side_of
from classify.labelling.label_log import KEPT, NONE_OF_THESE, NOT_SURE, Entry

SURFACES = ["brick", "grass", "gravel"]
pytestmark = pytest.mark.usefixtures("browser")


def labels(reviewed: Reviewed) -> dict[str, str]:
    return reviewed.session.log.labels


def current(page: Opened) -> str:
    """The file name of the picture at the cursor."""
    return page.tiles(".tile.cursor")[0].partition(",")[0]


def settle(page: Opened, reviewed: Reviewed, count: int) -> None:
    """Wait until so many pictures have a label, and the page shows it."""
    page.page.locator("#side-body .large", has_text=f"{count} of 36").first.wait_for(state="attached")
    page.ready()
    assert len(labels(reviewed)) == count


def test_a_stack_is_named_whole_and_pictures_are_taken_out(opened, reviewed: Reviewed) -> None:
    with opened(reviewed) as page:
        assert "stack of" in page.tiles()[0]
        name, many = current(page), int(page.tiles()[0].split("stack of ")[1].split()[0])
        page.press("n")
        page.page.keyboard.type(surface_of(name))
        page.press("Enter")
        settle(page, reviewed, many)
        assert set(labels(reviewed).values()) == {surface_of(name)}
        page.press("Enter")  # opens the stack at the cursor, which went on
        page.page.get_by_role("button", name="Back to the stacks").wait_for()
        page.ready()
        shown = page.tiles("[aria-selected=true]")
        page.press("Space")
        assert page.tiles("[aria-selected=true]") == shown[1:]
        page.press("Escape")
        page.page.get_by_role("button", name="Back to the stacks").wait_for(state="detached")
        page.press("z")
        page.announced(f"Undone: {many} picture")
        assert labels(reviewed) == {}


def test_what_is_not_sure_in_an_opened_stack_is_all_of_it_but_what_is_taken_out(opened, reviewed: Reviewed) -> None:
    with opened(reviewed) as page:
        many = int(page.tiles()[0].split("stack of ")[1].split()[0])
        page.press("Enter")
        page.page.get_by_role("button", name="Back to the stacks").wait_for()
        page.ready()
        left_out = current(page)
        page.press("Space", "u")
        page.page.locator(".chip", has_text=f"not sure {many - 1}").wait_for()
        page.page.get_by_role("button", name="Back to the stacks").wait_for(state="detached")
        page.ready()
        assert sum(int(one.split("stack of ")[1].split()[0]) for one in page.tiles()) == 36 - many + 1
    entries = reviewed.session.log.entries
    assert [entry.how for entry in entries.values()] == [NOT_SURE] * (many - 1) and left_out not in entries


@pytest.mark.parametrize(
    ("at", "heading", "shown"), [("&queue=unknown", "Unknown", 18), ("&queue=search&text=gravel.11", "Search", 1)]
)
def test_an_address_opens_a_queue_or_a_picture(opened, taught: Reviewed, at: str, heading: str, shown: int) -> None:
    with opened(taught, at=at) as page:
        assert page.page.locator("#queue-title").inner_text() == heading
        assert len(page.tiles()) == shown


@pytest.mark.parametrize("at", ["&queue=constructor", "&queue=like", "&other=1"])
def test_an_address_with_another_queue_opens_the_page_as_ever(opened, taught: Reviewed, at: str) -> None:
    with opened(taught, at=at) as page:
        assert page.page.locator("#queue-title").inner_text() == "Ask"


def test_asked_pictures_are_named_by_keys_batch_after_batch(opened, reviewed: Reviewed) -> None:
    for name in SURFACES:
        reviewed.session.add_class(name)
    with opened(reviewed) as page:
        page.queue("ask")
        for batch in (10, 20):
            first = page.tiles()
            assert len(first) == 10
            while len(labels(reviewed)) < batch:
                name = current(page)
                page.press(str(1 + SURFACES.index(surface_of(name))))
                page.announced(f"{surface_of(name)}: 1 picture")
                page.ready()
                assert labels(reviewed)[name] == surface_of(name)
            settle(page, reviewed, batch)
            page.page.wait_for_function("() => !document.querySelector('.tile.done')")
            assert not {*first} & {*page.tiles()}
    assert all(surface_of(name) == label for name, label in labels(reviewed).items())


def test_states_are_no_labels_and_undo_takes_them_back(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.queue("unknown")
        unsure = current(page)
        page.press("u")
        page.announced("not sure: 1 picture")
        none = current(page)
        page.press("x")
        page.announced("none of these: 1 picture")
        for _ in range(2):
            page.ready()
            page.press("z")
        page.ready()
        page.announced("Undone: 1 picture")
        assert len(taught.session.log.entries) == 20 and not (taught.session.view.states != "").any()
        page.press("x", "u")
        page.announced("not sure: 1 picture")
        page.page.locator(".chip", has_text="not sure 1").wait_for()
    found = {name: entry.how for name, entry in taught.session.log.entries.items() if not entry.label}
    assert {found[unsure], found[none]} == {NOT_SURE, NONE_OF_THESE} and len(labels(taught)) == 18


def test_all_that_is_called_a_class_is_confirmed_but_what_is_taken_out(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.all_called()
        page.page.locator("#expected", has_text="cannot be told before 30 pictures").wait_for()
        label, shown = page.page.locator("#confirm-class").input_value(), len(page.tiles())
        left_out = current(page)
        page.press("Space")
        page.page.locator("#least").focus()
        page.press("ArrowRight", "Home")  # other pictures, then these again
        page.ready()
        page.page.locator("#grid").focus()
        assert [name.partition(",")[0] for name in page.tiles("[aria-selected=false]")] == [left_out]
        page.press("Enter")
        settle(page, taught, 18 + shown - 1)
        assert left_out not in labels(taught)
        new = [entry for entry in taught.session.log.entries.values() if entry.how == "confirmed"]
        assert {entry.label for entry in new} == {label} and len(new) == shown - 1


@pytest.fixture
def doubtful(taught: Reviewed) -> Reviewed:
    """All labelled, two of them wrongly."""
    names = taught.session.view.pictures.names
    entries = {number: Entry(surface_of(name), how="asked") for number, name in enumerate(names)}
    for number in [names.index("brick.3.png"), names.index("grass.4.png")]:
        entries[number] = Entry("gravel", how="asked")
    taught.session.put(entries)
    taught.session.wait_until_learnt()
    return taught


def test_a_doubtful_label_is_replaced_by_the_models_or_kept(opened, doubtful: Reviewed) -> None:
    with opened(doubtful) as page:
        page.queue("doubt")
        assert {name.partition(",")[0] for name in page.tiles()} >= {"brick.3.png", "grass.4.png"}
        while current(page) not in ("brick.3.png", "grass.4.png"):
            page.press("ArrowRight")
        wrong = current(page)
        page.press("Enter")
        page.announced(f"{surface_of(wrong)}: 1 picture")
        kept = current(page)
        page.press("k")
    entries = doubtful.session.log.entries
    assert entries[wrong].label == surface_of(wrong) and entries[wrong].how == "accepted"
    assert entries[kept].how == KEPT


def test_a_cell_of_the_confusion_matrix_is_looked_through(opened, doubtful: Reviewed) -> None:
    with opened(doubtful) as page:
        page.queue("mistakes")
        cell = page.page.locator("#cell")
        cells = cell.locator("option").all_text_contents()
        cell.select_option(next(text for text in cells if text.startswith("gravel taken for brick")))
        page.page.locator(".tile", has_text="brick.3.png").wait_for()
        page.page.locator("#grid").focus()
        while current(page) != "brick.3.png":
            page.press("ArrowRight")
        page.press("Enter")
    assert labels(doubtful)["brick.3.png"] == "brick"


def test_pictures_like_one_are_chosen_with_shift_and_named_at_once(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.queue("search")
        page.page.locator("#text").fill("gravel.1")
        page.page.locator("#text").press("Enter")
        page.page.locator(".tile:nth-child(3)").wait_for()
        page.page.wait_for_function("() => document.querySelectorAll('.tile').length < 5")
        assert all("gravel.1" in name for name in page.tiles())
        page.page.locator("#grid").focus()
        page.press("l")
        page.page.locator("[data-queue=like]").wait_for()
        page.page.locator(".tile:nth-child(35)").wait_for()
        page.press("Shift+ArrowRight", "Shift+ArrowRight")
        assert len(page.tiles("[aria-selected=true]")) == 3
        page.press("n")
        page.page.keyboard.type("pebbles")
        page.press("Enter")
        page.page.locator(".chip", has_text="pebbles 3").wait_for()
    assert [*labels(taught).values()].count("pebbles") == 3


def test_a_picture_opens_at_full_size_and_can_be_named_there(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.queue("unknown")
        name = current(page)
        page.press("o")
        page.page.locator("#viewer-facts", has_text="128 x 128").wait_for()
        page.page.wait_for_function("() => document.querySelector('#stage img').naturalWidth === 128")
        before = page.page.locator("#stage img").get_attribute("style")
        page.press("+", "ArrowRight")
        assert page.page.locator("#stage img").get_attribute("style") != before
        key = 1 + [*taught.session.view.classes].index(surface_of(name))
        page.press(str(key))
        page.announced(f"{surface_of(name)}: 1 picture")
        page.press("Escape")
        page.page.locator("#viewer[open]").wait_for(state="detached")
        settle(page, taught, 19)
    assert labels(taught)[name] == surface_of(name)


def test_only_what_is_certain_is_a_hundred_per_cent(opened, shared_reviewed: Reviewed) -> None:
    """Else `Confirm` would not show at 100% what it says to be 100% sure of."""
    script = "async (all) => (({ percent }) => all.map((one) => percent(...one)))(await import('/assets/words.js'))"
    shares = [(0, 0), (0.004, 0), (0.5, 0), (0.995, 0), (1, 0), (0, 1), (0.0001, 1), (0.9875, 1), (0.9999, 1), (1, 1)]
    words = ["0%", "<1%", "50%", ">99%", "100%", "0.0%", "<0.1%", "98.8%", ">99.9%", "100.0%"]
    with opened(shared_reviewed) as page:
        assert page.page.evaluate(script, shares) == words


def test_classes_are_added_renamed_merged_and_deleted(opened, taught: Reviewed) -> None:
    before = labels(taught)
    with opened(taught) as page:
        page.page.locator("#open-names").click()
        page.page.locator("#add").fill("moss <b>")
        page.press("Enter")
        page.page.locator("#names-list p", has_text="moss <b> 0").wait_for()
        page.page.get_by_label("New name of brick").fill("wall")
        page.press("Enter")
        page.page.locator("#names-list p", has_text="wall").wait_for()
        page.page.get_by_label("Merge wall into").select_option("gravel")
        page.page.locator("#names-list li").nth(3).wait_for(state="detached")
        page.page.get_by_label("Delete grass").click()
        page.page.locator("#names-list p", has_text="grass").wait_for(state="detached")
        assert {*labels(taught).values()} == {"gravel"}
        page.press("Escape", "z", "z", "z")
        page.page.locator(".chip", has_text="brick").wait_for()
    assert labels(taught) == before


def test_letters_count_while_a_button_has_the_focus(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        page.page.locator("#open-names").focus()
        page.press("1")
        page.ready()
        assert len(labels(taught)) == 19
        page.page.locator("#open-names").focus()
        page.press("z")
        page.ready()
        assert len(labels(taught)) == 18
        page.page.locator("#open-names").focus()
        page.press("Enter")
        assert page.page.locator("#names").is_visible()


def test_whoever_leaves_while_a_label_is_on_its_way_is_asked(opened, taught: Reviewed) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with opened(taught) as page:
        page.queue("unknown")
        page.page.route("**/v1/labels", hold)
        page.press("1")
        with page.page.expect_event("dialog") as asked:
            page.page.close(run_before_unload=True)
        asked.value.dismiss()
        page.page.locator("#grid[data-saving]").wait_for(state="attached")
        held[0].continue_()
    assert len(labels(taught)) == 19


def test_a_second_window_is_read_only_and_says_so(opened, taught: Reviewed) -> None:
    taught.session.log.read_only = True
    with opened(taught) as page:
        page.page.locator("#read-only").wait_for()
        page.queue("unknown")
        page.press("1")
        page.page.locator("#trouble", has_text="another window").wait_for()
        assert taught.ask("POST", "/v1/undo").status_code == 409
    assert len(labels(taught)) == 18


def test_the_side_says_how_good_the_model_is_and_leads_to_queues(opened, doubtful: Reviewed) -> None:
    said = side_of(doubtful.session)
    with opened(doubtful) as page:
        side = page.page.locator("#side-body")
        side.locator("text=95% interval").first.wait_for()
        assert "36 of 36 pictures labelled" in side.inner_text()
        assert "36 pictures drawn at random" in side.inner_text() and said["accuracy"]["drawn"]
        side.get_by_role("button", name="Mistakes: gravel taken for").first.click()
        page.page.locator("#cell").wait_for()
