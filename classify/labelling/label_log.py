"""The labels that a person gives, in one CSV that only grows: `path,label,when,how`.

An action is one append of all its rows, made durable before it counts. The last row of a path wins; an empty label
means that the picture has none. Whoever is killed loses at most the action that is being written: the next one that
opens the file cuts off what is no whole line. `train --labels` and spreadsheets read the file as it is.
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cache.errors import UserError, log
from cache.files.atomic import make_folder, sync_file
from cache.files.lock import NO_LOCKS
from cache.files.system_calls import AT_ONCE, sync, take_lock

HEADER = ("path", "label", "when", "how")
NOT_SURE, NONE_OF_THESE = "not sure", "none of these"
STATES = (NOT_SURE, NONE_OF_THESE)  # in the column `how`: the picture was looked at, and has no label
KEPT = "kept"  # in the same column: a person stands by a label that was doubted
TOGETHER = ("stack", "confirmed")  # in the same column: many pictures were named at once, as a program had put them
UNDONE = "undone"
LARGEST = 2**30  # bytes


@dataclass(frozen=True)
class Entry:
    """What is said of a picture. label: "" for none. when: UTC, equal for all rows of an action. how: in few words."""

    label: str
    when: str = ""
    how: str = ""

    @property
    def one_by_one(self) -> bool:
        """Whether a person looked at this picture for its label, so that an accuracy may be of it."""
        return bool(self.label) and not named_together(self.how)


def named_together(how: str) -> bool:
    """Whether a row with this in its column `how` is one of many pictures that were named at once."""
    return how.removeprefix(f"{UNDONE}: ").startswith(TOGETHER)


NOTHING = Entry("")
Changes = Mapping[str, Entry]  # path, relative to the folder of the pictures -> what is said of it now


@dataclass
class LabelLog:
    """The labels in a file, and a way to change them while this process holds its lock.

    entries: of each path the last row. read_only: another process holds the lock, so that `put` and `undo` refuse.
    """

    path: str
    entries: dict[str, Entry]
    read_only: bool
    _file: int
    _actions: list[dict[str, Entry]] = field(default_factory=list)  # what each action replaced, the last one last
    _when: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """path -> label, of the pictures that have one."""
        return {path: entry.label for path, entry in self.entries.items() if entry.label}

    @property
    def last_paths(self) -> list[str]:
        """The pictures of the last action that is not undone."""
        return [*self._actions[-1]] if self._actions else []

    def put(self, changes: Changes) -> None:
        """Append one action, durably. `when` of the entries is set here.

        Raises UserError where the file is another's, for a label or a path with a line break in it, OSError naming
        the file where it cannot be written: then nothing is changed.
        """
        if changes:
            self._append(changes)
            self._actions.append(self._replaced(changes))
            self.entries |= self._stamped(changes)

    def undo(self) -> list[str]:
        """Take the last action back, also of an earlier session; returns its paths, none where nothing is left."""
        if not self._actions:
            return []
        before = self._actions[-1]
        changes = {path: Entry(entry.label, how=f"{UNDONE}: {entry.how}"[:80]) for path, entry in before.items()}
        self._append(changes)
        del self._actions[-1]
        self.entries |= {path: Entry(e.label, self._when, before[path].how) for path, e in changes.items()}
        return [*before]

    def rename(self, old: str, new: str) -> int:
        """Give all pictures of a class another label, as one action: also to merge it, or with "" to delete it."""
        changes = {}
        for path, entry in self.entries.items():
            if entry.label and entry.label == old:  # what was named together still is
                together = next((f"{word}, " for word in TOGETHER if entry.how.startswith(word)), "")
                changes[path] = Entry(new, how=f"{together}renamed from {old}"[:80])
        self.put(changes)
        return len(changes)

    def _replaced(self, changes: Changes) -> dict[str, Entry]:
        return {path: self.entries.get(path, NOTHING) for path in changes}

    def _stamped(self, changes: Changes) -> dict[str, Entry]:
        return {path: Entry(entry.label, self._when, entry.how) for path, entry in changes.items()}

    def _append(self, changes: Changes) -> None:
        if self.read_only:
            raise UserError(f"the table {self.path} is open in another window: label there, or close that one first")
        when = _later(self._when)
        data = _lines((path, entry.label, when, entry.how) for path, entry in changes.items())
        end = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            sync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)  # no torn line for the next one
            raise OSError(error.errno, os.strerror(error.errno or 0), self.path) from error
        self._when = when


@contextmanager
def open_log(path: str) -> Iterator[LabelLog]:
    """The labels in the file at `path`, which is created if need be; its lock is held for the body.

    Where another process has the lock the log is read-only. Raises UserError for a folder, and for a file that is no
    such table.
    """
    if os.path.isdir(path):
        raise UserError(f"{path!r} is a folder: name a file for the labels")
    make_folder(os.path.dirname(path))
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | AT_ONCE, 0o666)
    try:
        read_only = not _locked(file)
        data = _read(file, path)
        whole = _whole_lines(data)
        found = _parsed(path, whole or _header_of(data), read_only, file)
        if not read_only:  # and the file is such a table: another one is left as it is
            if torn := data[len(whole) :]:
                log.warning("%s ends in half a line, %r, which is cut off", path, torn[:80])
                os.ftruncate(file, len(whole))
            if not whole:
                os.write(file, _lines([HEADER]))
                sync(file)
                sync_file(os.path.dirname(os.path.abspath(path)))
            elif not whole.endswith(b"\n"):
                os.write(file, b"\n")
        yield found
    finally:
        os.close(file)


def labels_of(path: str) -> dict[str, str]:
    """path -> label, of the pictures that have one in the file at `path`. Raises UserError for no such table."""
    if not os.path.isfile(path):
        raise UserError(f"there is no table of labels {path!r}")
    with open_log(path) as log:
        return log.labels


def _locked(file: int) -> bool:
    try:
        take_lock(file, wait=False)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _read(file: int, path: str) -> bytes:
    if (size := os.fstat(file).st_size) > LARGEST:
        raise UserError(f"{path} has {size} bytes: it is no table of labels")
    return Path(path).read_bytes()


def _whole_lines(data: bytes) -> bytes:
    """All but a torn line. A last row with a label is whole without a line break, too: editors leave it out."""
    end = data.rfind(b"\n") + 1
    try:
        rows = [*csv.reader([data[end:].decode("utf-8", "surrogateescape")], strict=True)] if end else []
    except csv.Error:
        rows = []
    return data if rows and len(rows[0]) == len(HEADER) and rows[0][1] else data[:end]


def _header_of(torn: bytes) -> bytes:
    """The first line of a table that has no whole one: as much of it as was written stands for all of it."""
    header = _lines([HEADER])
    return header if header.startswith(torn) else torn


def _parsed(path: str, data: bytes, read_only: bool, file: int) -> LabelLog:
    """The rows played one after the other: what each action replaced, and where undone ones end up."""
    found = LabelLog(path, {}, read_only, file)
    try:
        rows = [*csv.reader(io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline=""), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of labels ({error}): give another file") from None
    header, *rows = [row for row in rows if row] or [list(HEADER)]  # whoever edits it leaves blank rows behind
    if tuple(header) != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise UserError(
            f"{path} is no table of labels that can be added to: its columns are {', '.join(header)!r:.80}, "
            f"not {','.join(HEADER)}: give another file (`review --adopt-table` takes over the labels of another table)"
        )
    for action in _of_actions(rows):
        if all(entry.how.startswith(UNDONE) for entry in action.values()) and found._actions:
            before = found._actions.pop()
            found.entries |= {name: Entry(e.label, e.when, before.get(name, NOTHING).how) for name, e in action.items()}
        else:
            found._actions.append(found._replaced(action))
            found.entries |= action
        found._when = next(iter(action.values())).when
    return found


def _of_actions(rows: Iterable[list[str]]) -> Iterator[dict[str, Entry]]:
    action: dict[str, Entry] = {}
    for path, label, when, how in rows:
        if action and next(iter(action.values())).when != when:
            yield action
            action = {}
        action[path] = Entry(label, when, how)
    if action:
        yield action


def _later(last: str) -> str:
    """Now, UTC to the microsecond; a microsecond after the last one where the clock stands still or was set back."""
    now = datetime.now(UTC)
    with contextlib.suppress(ValueError):  # what a person has written there
        now = max(now, datetime.fromisoformat(last) + timedelta(microseconds=1))
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    for row in rows:
        cells = [*row]
        if strange := next((cell for cell in cells if any(sign in cell for sign in "\0\r\n")), None):
            raise UserError(f"{strange!r:.80} has a line break or a NUL character in it: take it out")
        csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")
