"""Every queue of the page by touch on a phone, and what a page owes its readers: contrast, focus, names, sizes."""

import pytest
from helpers.review.reviewed_page import Opened, Reviewed, surface_of

from classify.labelling.label_log import Entry

PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
SCHEMES = ["light", "dark"]
CONTRAST = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = number(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.closest('.hidden, .skip, option, :disabled, noscript')) continue;
    const style = getComputedStyle(one);
    if (style.color.startsWith('color') || getComputedStyle(one).backgroundColor.startsWith('color')) continue;
    const [front, back] = [light(number(style.color)), light(behind(one))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) low.push(`${one.tagName}.${one.className} ${ratio.toFixed(2)} ${one.textContent.slice(0, 30)}`);
  }
  return low;
}"""


def tap(page: Opened, selector: str, text: str | None = None) -> None:
    page.page.locator(selector, has_text=text).first.tap()


def open_queue(page: Opened, name: str) -> None:
    tap(page, f"[data-queue={name}]")
    page.ready()


def test_stacks_asked_and_unknown_pictures_are_named_by_touch(opened, reviewed: Reviewed) -> None:
    for name in ("brick", "grass", "gravel"):
        reviewed.session.add_class(name)
    with opened(reviewed, **PHONE) as page:
        stack = page.tiles()[0]
        tap(page, ".tile")
        tap(page, ".chip", surface_of(stack))
        page.announced(f"{surface_of(stack)}: ")
        page.ready()
        assert set(reviewed.session.log.labels.values()) == {surface_of(stack)}
        for queue in ("ask", "unknown"):
            open_queue(page, queue)
            name = page.tiles()[0].partition(",")[0]
            tap(page, ".tile")
            tap(page, ".chip", surface_of(name))
            page.announced(f"{surface_of(name)}: 1 picture")
            page.ready()
            assert reviewed.session.log.labels[name] == surface_of(name)
        tap(page, "#undo")
        page.announced("Undone: 1 picture")
        assert name not in reviewed.session.log.labels


def test_a_class_is_confirmed_a_picture_opened_and_others_like_it_shown_by_touch(opened, taught: Reviewed) -> None:
    with opened(taught, **PHONE) as page:
        open_queue(page, "confirm")
        page.page.locator("#least").fill("0")
        page.page.locator("label[for=least] output", has_text="0%").wait_for()
        page.page.locator(".tile").nth(1).wait_for()
        page.ready()
        page.page.locator(".tile").nth(1).tap()
        left_out = page.page.locator(".tile[aria-selected=false]")  # wherever it is now: the queue may be newer
        out = (left_out.get_attribute("aria-label") or "").partition(",")[0]
        assert left_out.count() == 1 and out
        label = page.page.locator("#confirm-class").input_value()
        tap(page, "#confirm")
        page.announced(f"{label}: ")
        page.ready()
        assert len(taught.session.log.labels) > 18 and out not in taught.session.log.labels
        open_queue(page, "search")
        tap(page, ".tile")
        tap(page, "#like")
        page.page.locator("[data-queue=like]").wait_for()
        page.ready()
        tap(page, "#open")
        page.page.locator("#viewer-facts", has_text="128 x 128").wait_for()
        tap(page, "#viewer [data-close]")


def test_doubt_and_mistakes_by_touch(opened, taught: Reviewed) -> None:
    names = taught.session.view.pictures.names
    entries = {number: Entry(surface_of(name), how="asked") for number, name in enumerate(names)}
    entries[names.index("brick.3.png")] = Entry("gravel", how="asked")
    taught.session.put(entries)
    taught.session.wait_until_learnt()
    with opened(taught, **PHONE) as page:
        open_queue(page, "mistakes")
        page.page.locator("#cell").wait_for()
        open_queue(page, "doubt")
        tap(page, ".tile", "brick.3")
        tap(page, "#confirm")
        page.announced("brick: 1 picture")
        page.ready()
    assert taught.session.log.labels["brick.3.png"] == "brick"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [(320, 640), (3840, 2160)])
def test_text_has_contrast_and_the_page_fits(opened, taught: Reviewed, scheme: str, size: tuple[int, int]) -> None:
    width, height = size
    with opened(taught, color_scheme=scheme, viewport={"width": width, "height": height}) as page:
        for queue in ("ask", "confirm", "unknown"):
            page.queue(queue)
            assert page.page.evaluate(CONTRAST) == []
            assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_every_control_has_a_name_and_focus_is_seen(opened, taught: Reviewed) -> None:
    with opened(taught) as page:
        unnamed = page.page.evaluate(
            """() => [...document.querySelectorAll('button, input, select')]
                .filter((one) => !one.textContent.trim() && !one.labels?.length && !one.getAttribute('aria-label'))
                .map((one) => one.id)"""
        )
        assert unnamed == []
        page.page.locator("#undo").focus()
        page.press("Tab")
        style = page.page.evaluate("() => getComputedStyle(document.activeElement).outlineWidth")
        assert style == "3px"
        box = page.page.locator("#grid")
        assert box.get_attribute("role") == "listbox"
        active = box.get_attribute("aria-activedescendant")
        assert page.page.locator(f"#{active}").get_attribute("role") == "option"
