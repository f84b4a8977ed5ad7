"""Groups that people name, such as camera sites: pictures of one group must not stand on both sides of a split.

They come from a column of the table, a pattern in the paths, the folders, the times at which pictures were taken, or a
mapping. A picture in no group has the name "".
"""

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cache.errors import UserError, log
from classify.labels.label_names import label_of
from classify.labels.label_sources import Source, below
from classify.labels.label_tables import Table, group_name, names_groups, names_times
from featurize.pictures.sources import nfc

FORMS = "give column:NAME, pattern:REGEX, folder or time:SECONDS"
IN_MEMORY = "they are in memory, and groups go by paths: give files"
TIME_EXAMPLE = "2026-05-31 14:00:00"
PATTERN_EXAMPLE = r"(?P<group>site\d+)"

Groups = str | Mapping[Any, Any] | None


class GroupOption(NamedTuple):
    """Where groups come from. kind: column, pattern, folder, time or mapping; value: what that takes."""

    kind: str
    value: Any = None

    def __str__(self) -> str:
        if self.kind in ("folder", "mapping"):
            return self.kind
        return f"{self.kind}:{f'{self.value:g}' if self.kind == 'time' else getattr(self.value, 'pattern', self.value)}"

    @property
    def words(self) -> str:
        """How the groups were found, for a message."""
        if self.kind == "time":
            return f"capture times less than {self.value:g} s apart"
        return f"column {self.value!r}" if self.kind == "column" else self.kind


def group_option(groups: Groups, has_table: bool) -> GroupOption | None:
    """The option `groups` as it is meant; has_table: whether there may be a column. Raises UserError for wrong ones."""
    if groups is None:
        return None
    if isinstance(groups, Mapping):
        return GroupOption("mapping", groups)
    kind, colon, value = groups.partition(":") if isinstance(groups, str) else ("", "", "")
    if kind == "column" and value:
        if not has_table:
            raise UserError(f"--group-column {value!r}: give the table that has it with --labels")
        return GroupOption(kind, value)
    if kind == "pattern" and value:
        return GroupOption(kind, _pattern(value))
    if kind == "time" and colon:
        return GroupOption(kind, _seconds(value))
    if groups == "folder":
        return GroupOption("folder")
    raise UserError(f"groups {groups!r:.200}: {FORMS}")


def labelled_groups(source: Source, paths: Sequence[str], option: GroupOption) -> list[str]:
    """The group of each of the labelled pictures `paths`, announced. Raises UserError where none is in a group."""
    if option.kind == "column":
        cells = source.table.groups if source.table and source.table.groups else []
        names = [cells[source.row_of[path]] for path in paths]
    elif option.kind == "time":
        times = capture_times_of(paths, source.table, source.row_of)
        names = bursts(["/".join(names) for names in source.folders(paths)], times, option.value)
    elif option.kind == "folder":
        names = [_folder_beside_class(names, source.class_at) for names in source.folders(paths)]
    else:
        names = names_of_paths([*below(paths, source.root).values()], paths, source.root, option)
    return announced_groups(names, paths, option, source.table, source.row_of)


def names_of_paths(relatives: Sequence[str], paths: Sequence[str], root: str, option: GroupOption) -> list[str]:
    """The groups that a pattern finds in relative paths, or that a mapping gives for paths, also relative to `root`."""
    if option.kind == "pattern":
        found = [option.value.search(nfc(relative)) for relative in relatives]
        return [label_of(match["group"] or "") if match else "" for match in found]
    by_path: dict[str, str] = {}
    for given, group in option.value.items():
        if not isinstance(given, str | os.PathLike):
            raise UserError(f"groups: a mapping goes from paths to groups, and {given!r:.80} is no path")
        for path in (os.fsdecode(given), os.path.join(root, os.fsdecode(given))):
            # NaN is the only value that differs from itself.
            by_path[nfc(os.path.abspath(path))] = "" if group is None or group != group else group_name(str(group))  # noqa: PLR0124
    return [by_path.get(nfc(os.path.abspath(path)), "") for path in paths]


def bursts(folders: Sequence[str], times: Sequence[datetime | None], seconds: float) -> list[str]:
    """The burst of each of n pictures, called after its folder and its first time; "" without a time.

    Pictures of one folder whose times follow each other by less than `seconds` are of one burst.
    """
    names = [""] * len(times)
    of_folder: defaultdict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for number, (folder, time) in enumerate(zip(folders, times, strict=True)):
        if time is not None:
            of_folder[folder].append((time, number))
    for folder, taken in of_folder.items():
        taken.sort()
        first, before = taken[0][0], taken[0][0]
        for time, number in taken:
            if time - before >= timedelta(seconds=seconds):
                first = time
            before = time
            names[number] = f"{folder}/{first}" if folder else str(first)
    return names


def capture_times_of(paths: Sequence[str], table: Table | None, row_of: Mapping[str, int]) -> list[datetime | None]:
    """The capture times of pictures: of those without EXIF, by the column of times that a table may have."""
    from featurize.pictures.capture_time import capture_times, time_of_text

    times = capture_times(paths)
    for column, cells in _columns_of_times(table).items():
        missing = [number for number, time in enumerate(times) if time is None and paths[number] in row_of]
        written = {number: time_of_text(cells[row_of[paths[number]]]) for number in missing}
        if count := sum(time is not None for time in written.values()):
            log.info("capture times of %d pictures without EXIF are taken from the column %r", count, column)
            times = [written.get(number, time) for number, time in enumerate(times)]
        unread = [cell for number in missing if written[number] is None and (cell := cells[row_of[paths[number]]])]
        if unread and any(times):  # else there are no groups, and that is said with the reason
            what = "the column %r has %d values that are no times, such as %.80r: write them as %s"
            log.warning(what, column, len(unread), unread[0], TIME_EXAMPLE)
    return times


def announced_groups(
    names: list[str], paths: Sequence[Any], option: GroupOption, table: Table | None, row_of: Mapping[str, int]
) -> list[str]:
    """`names`; says how many groups there are, and how many pictures are in none. Raises UserError where all are.

    table, row_of: that they may be from, and the rows of its pictures.
    """
    if not names:
        return names
    counts = Counter(filter(None, names))
    alone = [path for path, name in zip(paths, names, strict=True) if not name]
    if not counts:
        why = _why_none(option, table, row_of) if any(isinstance(path, str) for path in alone) else IN_MEMORY
        raise UserError(f"no picture is in a group: {why}; the first is {_shown(alone)}")
    ranked = sorted(counts.values())
    sizes = f"{ranked[0]} to {ranked[-1]}" if ranked[0] < ranked[-1] else str(ranked[0])
    log.info("groups: %d by %s, %s pictures each, such as %r", len(counts), option.words, sizes, min(counts))
    if alone:
        log.warning("pictures in no group: %d, each is on its own; the first is %s", len(alone), _shown(alone))
    return names


def mention_column(source: Source, paths: Sequence[str], labels: Sequence[str]) -> None:
    """Say which column of a table looks like groups of the labelled pictures `paths`, where nobody asked for groups.

    Not one with another value at every picture, nor one that tells no more than the labels.
    """
    for column, cells in source.table.others.items() if source.table else ():
        values = [cells[source.row_of[path]] for path in paths]
        named = [value for value in values if value]
        is_more = len(set(zip(values, labels, strict=True))) > len(set(labels))
        if names_groups(column) and 1 < len(set(named)) < len(named) and is_more:
            quoted = column if re.fullmatch(r"[\w-]+", column) else f"'{column}'"
            log.info("the table has a column %r: --group-column %s keeps its pictures together", column, quoted)
            return


def _folder_beside_class(folders: list[str], class_at: int | None) -> str:
    """The folder below that of the class, else the one above it; the outermost where no folder is the class."""
    if class_at is None:
        return label_of(folders[0]) if folders else ""
    return label_of(folders[1 if class_at == 0 else -2]) if len(folders) > 1 else ""


def _pattern(text: str) -> re.Pattern[str]:
    example = f"example: {PATTERN_EXAMPLE}"
    try:
        pattern = re.compile(nfc(text))
    except (re.error, OverflowError, RecursionError) as error:  # the last two of numbers and brackets without end
        raise UserError(f"--group-pattern {text!r:.200} is no regular expression: {error}; {example}") from None
    if "group" not in pattern.groupindex:
        raise UserError(f"--group-pattern {text!r:.200} has no group named group; {example}")
    return pattern


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= timedelta.max.total_seconds() / 2:
        raise UserError(f"groups 'time:{text:.80}': give a number of seconds above 0, such as time:60")
    return seconds


def _why_none(option: GroupOption, table: Table | None, row_of: Mapping[str, int]) -> str:
    no_row = "no row of the table is one of these pictures" if table and not row_of else None
    no_time = f"and {no_row}" if no_row else _why_no_time(table, row_of)
    return {
        "column": no_row or f"the column {option.value!r} is empty for all of them",
        "pattern": f"--group-pattern {getattr(option.value, 'pattern', '')!r:.200} fits none of the paths",
        "folder": "none lies in a folder below or above that of its class; name groups by column or pattern",
        "time": f"none has a capture time in its EXIF, {no_time}; or name groups otherwise",
        "mapping": "the mapping has none of their paths",
    }[option.kind]


def _why_no_time(table: Table | None, row_of: Mapping[str, int]) -> str:
    """Why the columns of times, if there are any, tell none of the rows `row_of`."""
    columns = _columns_of_times(table)
    if not columns:
        return "nor has a table a column of date-times, such as datetime"
    for column, cells in columns.items():
        if written := next((cells[row] for row in row_of.values() if cells[row]), None):
            return f"and the column {column!r} has {written!r:.80}: write it as {TIME_EXAMPLE}"
    return f"and the column {next(iter(columns))!r} is empty for all of them"


def _columns_of_times(table: Table | None) -> dict[str, list[str]]:
    return {column: cells for column, cells in table.others.items() if names_times(column)} if table else {}


def _shown(paths: Sequence[Any]) -> str:
    return repr(paths[0]) if isinstance(paths[0], str) else "a picture without path"
