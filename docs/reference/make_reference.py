"""The parts of the reference that the code decides: options, make variables, backbones, heads.

    .venv/bin/python docs/reference/make_reference.py

writes each of them anew between its two marks, on the pages beside this file. With `--check` it writes nothing, and
exits with status 1 where a page differs.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY))

import click  # noqa: E402

from bottleneck_features.commands.main import cli  # noqa: E402
from classify.heads.head_table import HEADS, make_head, search_grid  # noqa: E402
from featurize.backbones.backbone_table import BACKBONES  # noqa: E402

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
# Variables of the Makefile that are no option of a command.
OTHERS = {
    "GROUPS": "`--group-by` of every command that has `GROUP_BY`: `make train GROUPS=folder`.",
    "ARGS": "Any other options: `ARGS=\"--cv 5 --json report.json\"`.",
    "NAME": "The job of `make example`.",
    "PYTHON": "The Python that makes `.venv`. [python3]",
    "SECONDS": "How long `make fuzz` tries each target. [600]",
}  # fmt: skip
OPTIONS_OF_HEADS = {"random_state": "--seed", "tail": "--cut", "tensorboard": "--tensorboard"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, those of `cache` as `cache ls`."""
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


def options_by_commands() -> dict[tuple[str, ...], list[tuple[str, str]]]:
    """Commands -> the options (option with its values, meaning) that these and no others have."""
    having: dict[tuple[str, str], list[str]] = {}
    for name, command in commands():
        context = click.Context(command, info_name=name)
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record and isinstance(parameter, click.Option):
                having.setdefault(record, []).append(name)
    found: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for record, names in having.items():
        found.setdefault(tuple(names), []).append(record)
    return found


def shared_options() -> str:
    """The options that several commands have, a table for each set of commands."""
    return "\n\n".join(
        f"Of {', '.join(f'`{name}`' for name in names)}:\n\n{_option_table(records)}"
        for names, records in options_by_commands().items()
        if len(names) > 1
    )


def command_help() -> str:
    """What each command does, the options that it has alone, and the examples of its help."""
    own = options_by_commands()
    parts = []
    for name, command in commands():
        parts += [f"### {name}", *(_text(text) for text in (command.help or "").split("\n\n"))]
        if records := own.get((name,)):
            parts.append(_option_table(records))
        examples = (command.epilog or "").partition("Examples:\n")[2]
        parts.append("\n".join(["```console", *(f"$ {line.strip()}" for line in examples.splitlines()), "```"]))
    return "\n\n".join(parts)


def _option_table(records: list[tuple[str, str]]) -> str:
    rows = []
    for option, text in records:
        name, _, values = option.partition(" ")
        rows.append(f"| `{name}` | {_cell(values.strip('[]').replace('|', ', '))} | {_cell(text)} |")
    return "\n".join(["| option | value | meaning [default] |", "|---|---|---|", *rows])


def variable_table() -> str:
    """Every variable of the Makefile with its option. Raises KeyError for one without, unless `OTHERS` has it."""
    text = _expanded()
    options = dict(re.findall(r"\$\$\{(\w+):\+(--[\w-]+)", text))
    others = set(re.findall(r"\$\$?[({]([A-Z_]+)", text)) - options.keys() - {"MAKEFILE_LIST"}
    rows = []
    for variable in " ".join(re.findall(r"^export (.*)$", text, re.MULTILINE)).split():
        targets = re.findall(rf"^([a-z]+):.*\n(?:\t.*\n)*?\t.*\$\$\{{{variable}:", text, re.MULTILINE)
        rows.append(f"| `{variable}` | `{options[variable]}` | {', '.join(f'`{name}`' for name in targets)} |")
    rows += [f"| `{variable}` | {OTHERS[variable]} | |" for variable in sorted(others)]
    return "\n".join(["| variable | option | make targets |", "|---|---|---|", *rows])


def _expanded() -> str:
    """The Makefile with the variables that it makes itself put in."""
    text = MAKEFILE.replace("\\\n\t", "")
    values = dict(re.findall(r"^(\w+) :?= (.*)$", text, re.MULTILINE))
    while found := next((name for name in values if f"$({name})" in text), None):
        text = text.replace(f"$({found})", values[found])
    return text


def target_table() -> str:
    """What `make` prints: every target with its line."""
    rows = [f"| `make {name}` | {_cell(text)} |" for name, text in re.findall(r"^([a-z-]+):.*## (.*)$", MAKEFILE, re.M)]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def backbone_table() -> str:
    rows = [
        f"| `{name}` | {row.size} | {row.minimum} | {row.dimension} | `{row.last_layer}` | "
        f"{'none' if row.packaged else f'`{row.module}`'} | {_weights(name)} |"
        for name, row in BACKBONES.items()
    ]
    head = "| name | default size | smallest | channels | default layer | preprocessing | weights |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _weights(name: str) -> str:
    row = BACKBONES[name]
    return "installed" if row.wheel else "in the project" if row.packaged else "downloaded"


def head_table() -> str:
    rows = []
    for name, entry in HEADS.items():
        defaults = {key: value for key, value in make_head(name).get_params().items() if key not in OPTIONS_OF_HEADS}
        tried = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in search_grid(name).items())
        marks = [mark for mark, has in (("streams", entry.streams), ("takes maps", entry.maps)) if has]
        shown = " ".join(f"{key}={value}" for key, value in defaults.items())
        rows.append(f"| `{name}` | {'; '.join([entry.summary, *marks])} | `{shown}` | {tried} |")
    return "\n".join(["| head | what | parameters and defaults | tried by `--search` |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """One line in which Markdown sees no tag."""
    return " ".join(text.split()).replace("<", "&lt;")


SECTIONS: dict[str, dict[str, Callable[[], str]]] = {
    "commands.md": {
        "commands": command_help,
        "options": shared_options,
        "variables": variable_table,
        "targets": target_table,
    },
    "backbones.md": {"backbones": backbone_table},
    "heads.md": {"heads": head_table},
}


def rewritten(page: str, text: str) -> str:
    """The text of a page with what the code says now between its marks. Raises ValueError where a mark is missing."""
    for name, make in SECTIONS[page].items():
        begin, end = f"<!-- {name}: written by docs/reference/make_reference.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page}: the marks {begin} and {end} are missing")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def main() -> None:
    differ = []
    for page in SECTIONS:
        path = HERE / page
        text = path.read_text(encoding="utf-8")
        if (new := rewritten(page, text)) != text:
            differ.append(page)
            if "--check" not in sys.argv[1:]:
                path.write_text(new, encoding="utf-8")
    print(f"{'differ' if '--check' in sys.argv[1:] else 'written'}: {', '.join(differ) or 'none'}")
    sys.exit(1 if differ and "--check" in sys.argv[1:] else 0)


if __name__ == "__main__":
    main()
