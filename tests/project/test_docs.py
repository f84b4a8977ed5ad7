"""The README and docs/: short enough to be read, no dead link, a reference that says what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from classify.heads.head_table import HEADS
from featurize.backbones.backbone_table import BACKBONES

MAKE_REFERENCE = "docs/reference/make_reference.py"
FOUND = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
PAGES = [name for name in FOUND.splitlines() if not name.startswith("tests/")]
DOCS = [name for name in PAGES if name.startswith("docs/")]


def without_code(text: str) -> str:
    """Markdown without blocks of code and code in a line: what looks like a link or a heading there is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of the headings where Markdown is shown."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"[^\w\- ]", "", line.lower()) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {heading.replace(" ", "-") for heading in headings}


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_code((REPOSITORY / page).read_text(encoding="utf-8")))


def target(page: str, link: str) -> Path:
    return ((REPOSITORY / page).parent / link.partition("#")[0]).resolve()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    here = REPOSITORY / page
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        file = target(page, link) if path else here
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_ends(page: str) -> None:
    marks = re.findall(r"^ *```.*$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert [mark for mark in marks[1::2] if mark.strip() != "```"] == [] and len(marks) % 2 == 0


def test_the_contents_lead_to_every_page() -> None:
    reached = {target("docs/README.md", link) for link in links("docs/README.md")}
    assert [page for page in DOCS if page != "docs/README.md" and (REPOSITORY / page).resolve() not in reached] == []


def test_a_person_reads_the_readme_to_its_end() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_pictures_are_small() -> None:
    pictures = [path for path in (REPOSITORY / "docs" / "pictures").iterdir() if path.suffix not in (".py", "")]
    assert pictures and [path.name for path in pictures if path.stat().st_size > 200_000] == []


def test_the_reference_says_what_the_code_says() -> None:
    command = [sys.executable, MAKE_REFERENCE, "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}write it anew: .venv/bin/python {MAKE_REFERENCE}"


def test_the_reference_lists_every_backbone_head_and_variable() -> None:
    reference = REPOSITORY / "docs" / "reference"
    backbones, heads, commands = [(reference / f"{name}.md").read_text() for name in ("backbones", "heads", "commands")]
    exported = " ".join(re.findall(r"^export (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)).split()
    assert [name for name, row in BACKBONES.items() if f"| `{name}` | {row.size} |" not in backbones] == []
    assert [name for name in HEADS if f"| `{name}` |" not in heads] == []
    assert exported and [name for name in exported if f"| `{name}` | `--" not in commands] == []


def test_the_map_of_the_house_names_every_room_and_no_file_that_is_not_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", text) + re.findall(r"^ {6}(\w+/\S+)", text, re.MULTILINE)
    assert len(named) > 40 and [name for name in named if not (REPOSITORY / name).exists()] == []
    rooms = [file.parent for name in ("bottleneck_features", "cache", "classify", "featurize")
             for file in (REPOSITORY / name).rglob("__init__.py")]  # fmt: skip
    assert {f"{room.relative_to(REPOSITORY)}/" for room in rooms} <= set(named)
