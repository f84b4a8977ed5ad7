"""Whether the outer or the inner folders of a set are its classes, where both may be."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

from classify.labels.label_names import label_of
from classify.labels.own_split import parts_of_values

LABEL_FROM = ("outermost", "innermost")


def doubt(pictures: Iterable[list[str]]) -> str | None:
    """Why folders that are taken for classes may be none, in one line: two of them hold the same folders.

    pictures: of each the names of the folders that it lies in, that of its class first. Two classes hold the same where
    two names of folders or more, or all those in one of them, are in the other. Nothing is in doubt where the inner
    folders all have one name, for they cannot be classes then, nor of a class whose pictures mostly lie beside its
    inner folders.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outer, *folders in filter(None, pictures):
        counts[outer][label_of(folders[0]).casefold() if folders else ""] += 1
    inner = {
        outer: names.keys() - {""} for outer, names in sorted(counts.items()) if 2 * names[""] < names.total()
    }  # where most pictures of the class lie in these
    holders = defaultdict(list)
    for folder, names in inner.items():
        for name in names:
            holders[name].append(folder)
    if len(holders) < 2:
        return None
    first_with: dict[tuple[str, str], str] = {}
    for folder, names in inner.items():
        shared = sorted(name for name in names if len(holders[name]) > 1)
        if len(names) == len(shared) == 1:
            other = next(one for one in holders[shared[0]] if one != folder)
            return _line(folder, other, shared)
        for pair in combinations(shared, 2):
            if (other := first_with.setdefault(pair, folder)) != folder:
                return _line(other, folder, sorted(names & inner[other]))
    return None


def _line(one: str, other: str, shared: list[str]) -> str:
    names = ", ".join(repr(name) for name in shared[:3]) + (" and more" if len(shared) > 3 else "")
    both = f"the folders {one!r} and {other!r} both hold {names}"
    if parts_of_values(shared):
        return (
            f"{both}: name one set with --data, or put the parts outermost ({shared[0]}/{one}); "
            "--label-from outermost takes the outer folders for classes"
        )
    return (
        f"{both}: if they are parts of the set, name them with --train FOLDER and --test FOLDER; "
        "if the inner folders are the classes, give --label-from innermost; if the outer ones are, outermost"
    )
