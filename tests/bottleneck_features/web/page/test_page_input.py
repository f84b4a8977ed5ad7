"""How pictures come to the page, and who works it: drop, paste, choice, keyboard, screen reader."""

from pathlib import Path

import numpy as np
import pytest
from helpers.web.served_page import Open, Served, serving

# A file as a drop or a paste brings it: its bytes travel as numbers, which needs no script of the page's policy.
DROP = """([selector, kind, name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { clipboardData: transfer, ...options })
        : new DragEvent(kind, { dataTransfer: transfer, ...options });
    return document.querySelector(selector).dispatchEvent(event);
}"""


@pytest.mark.parametrize(("selector", "kind"), [("#drop", "drop"), ("footer", "drop"), ("body", "paste")])
def test_pictures_are_dropped_anywhere_or_pasted(
    served: Served, opened: Open, surfaces: Path, selector: str, kind: str
) -> None:
    path = surfaces / "brick" / "brick.0.png"
    with opened(served) as tab:
        tab.page.locator("#model").wait_for()
        not_prevented = tab.page.evaluate(DROP, [selector, kind, path.name, list(path.read_bytes())])
        assert not_prevented is (kind == "paste")  # else the browser would leave the page for the picture
        tab.wait()
        assert tab.texts(".file") == [path.name]
        assert tab.texts(".verdict .label") == ["brick"]


def test_everything_works_by_keyboard(served: Served, opened: Open, surfaces: Path) -> None:
    first, second = surfaces / "brick" / "brick.0.png", surfaces / "grass" / "grass.0.png"
    with opened(served) as tab:
        page = tab.page
        page.on("filechooser", lambda chooser: chooser.set_files([first, second]))  # long before there is one
        page.locator("#model").wait_for()
        assert page.locator(".skip:not([hidden])").count() == 0  # there is nothing to skip to

        def tab_to(selector: str) -> None:
            for _ in range(30):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
            raise AssertionError(f"Tab does not come to {selector}")

        tab_to("#choose")
        page.keyboard.press("Enter")
        page.locator(".card").nth(1).wait_for()
        tab.wait()
        page.locator(".skip").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "pictures"
        page.locator("#choose").focus()
        for control in ("#accept", "#reject", "#clear", ".show-heat"):
            tab_to(control)
        page.keyboard.press("Enter")
        page.locator(".card:first-child canvas.heat").wait_for()
        page.keyboard.press("Space")
        page.locator(".card:first-child img.picture").wait_for()
        tab_to(".show-near")
        page.keyboard.press("Enter")
        page.locator(".card:first-child .neighbours img").last.wait_for()
        tab_to(".card:first-child .remove")
        page.keyboard.press("Enter")
        assert tab.texts(".file") == [second.name]
        assert page.evaluate("document.activeElement.matches('.card')")  # and not lost at the top of the page
        tab_to(".remove")
        page.keyboard.press("Enter")
        assert page.locator(".card").count() == 0
        assert page.evaluate("document.activeElement.id") == "choose"


def test_a_phone_takes_photographs(served: Served, opened: Open, surfaces: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(served, **phone) as tab:
        assert tab.page.locator("#camera").is_visible()
        camera = tab.page.locator("#photograph")
        assert camera.get_attribute("capture") == "environment"
        camera.set_input_files(surfaces / "gravel" / "gravel.0.png")
        tab.wait()
        assert tab.texts(".verdict .label") == ["gravel"]
    with opened(served) as tab:
        assert tab.page.locator("#camera").is_hidden()


def test_those_who_hear_the_page_are_told_what_it_says(served: Served, opened: Open, surfaces: Path) -> None:
    with opened(served) as tab:
        tab.page.select_option("#accept", "")
        tab.choose(surfaces / "brick" / "brick.0.png")
        tab.announced(f"brick.0.png: brick, {tab.texts('.verdict .share')[0]}")
        live = tab.page.locator("#announce")
        assert (live.get_attribute("role"), live.get_attribute("aria-live")) == ("log", "polite")
        for control in tab.page.locator("button:visible, input:visible, select:visible").all():
            assert control.evaluate("element => element.labels?.[0]?.textContent || element.textContent").strip()
        assert tab.page.locator("main img:visible").evaluate_all("images => images.every(image => image.alt)")
        assert tab.page.locator("h1").count() == 1
        assert tab.page.locator("main section:not([aria-labelledby])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(served: Served, opened: Open, scheme: str) -> None:
    """A contrast of 4.5 at least, as WCAG 2.2 asks of normal text (1.4.3); of 3 for edges of controls (1.4.11)."""
    pairs = [
        *((text, behind) for text in ("ink", "quiet", "accent", "wrong") for behind in ("paper", "panel")),
        *((kind, f"{kind}-soft") for kind in ("good", "doubt", "wrong")),
        *(("ink", f"{kind}-soft") for kind in ("good", "doubt", "wrong")),
        ("on-accent", "accent"),
        ("ink", "soft"),
        ("quiet", "soft"),
    ]
    with opened(served, scheme) as tab:
        colour = {
            name: tab.page.evaluate(
                "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", f"--{name}"
            )
            for name in {name for pair in pairs for name in pair} | {"edge"}
        }
    assert {pair for pair in pairs if contrast(colour[pair[0]], colour[pair[1]]) < 4.5} == set()
    assert min(contrast(colour["edge"], colour[behind]) for behind in ("paper", "panel")) >= 3


def contrast(one: str, other: str) -> float:
    """Of two colours #rrggbb (WCAG 2.2)."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_a_token_is_asked_for_and_kept_by_the_page_alone(model: Path, opened: Open, surfaces: Path) -> None:
    with serving(model, token="s3cret") as own, opened(own, refused=(401,)) as tab:
        page = tab.page
        page.locator("#sign-in").wait_for()
        tab.choose(surfaces / "brick" / "brick.0.png")
        assert "token" in tab.texts(".card .error")[0]
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.locator("#sign-in .error").wait_for()
        page.fill("#token", "s3cret")
        page.keyboard.press("Enter")
        page.locator("#model").wait_for()
        tab.wait()
        assert tab.texts(".verdict .label") == ["brick"]
        assert page.locator("#sign-in").is_hidden()
        assert page.evaluate("document.activeElement.id") == "pictures"
        tab.announced("Signed in")
        page.locator(".show-near").click()
        page.locator(".neighbours img").last.wait_for()
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
