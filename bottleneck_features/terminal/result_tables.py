"""What is best seen as a table: the scores of a search, the lines of a comparison."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from bottleneck_features.terminal.safe_text import printable
from cache.files.disk_space import readable

SHOWN_SCORES = ("accuracy", "neg_log_loss")  # which have columns of their own
LEAST_COLUMNS = 4  # that are shown however narrow the terminal is
BETWEEN = 3  # cells between two columns
AS_WIDE = 1000  # columns where no terminal limits them: a table in a file is not folded


def show_search(table: list[dict[str, Any]], scoring: str) -> None:
    """Print the candidates of a search, the best first, and which one was taken."""
    names = [*table[0]["params"]]
    folds = len(table[0]["scores"])
    print(f"search: {len(table)} candidates in {folds} folds of the training pictures, scored by {scoring}")
    print("taken (*) is the nearest to the defaults of those within one standard error of the best")
    splits = [f"fold {number}" for number in range(1, folds + 1)]
    rows = (
        ["*" if row["chosen"] else "", *(str(row["params"][name]) for name in names)]
        + [f"{row[name]:.4f}" for name in ("score", "std", "accuracy")]
        + ["" if score is None else f"{score:.4f}" for score in row["scores"]]
        for row in sorted(table, key=lambda row: -row["score"])
    )
    _print_table(["", *names, "score", "+-", "accuracy", *splits], rows)


def show_comparison(report: dict[str, Any]) -> None:
    """Print the leaderboard, then what is not in it."""
    tuned = f", each tuned inside every fold by {report['scoring']}" if report["search"] else ""
    print(f"{report['pictures']} pictures of {len(report['classes'])} classes in {report['folds']} folds{tuned}")
    scored = [] if report["order"] in SHOWN_SCORES else [report["order"]]
    balanced = ["balanced"] if report["uneven"] else []
    header = ["head", "features", *scored, "accuracy", "95% interval", *balanced, "against the first", "log loss"]
    header += ["train, s", "predict, ms", "size", "passes"]
    names = short_names([line["features"] for line in report["lines"]])
    rows = (
        [
            line["head"],
            printable(names[line["features"]]),
            *("" if line["score"] is None else f"{line['score']:.4f}" for _ in scored),
            f"{line['accuracy']:.4f}",
            "{:.4f} to {:.4f}".format(*line["accuracy_interval"]),
            *(f"{line['balanced_accuracy']:.4f}" for _ in balanced),
            _difference(line) if number else "",
            f"{line['log_loss']:.4f}",
            f"{line['train_seconds']:.2f}",
            f"{1000 * line['predict_seconds']:.3f}",
            readable(line["bytes"]),
            str(line["forward_passes"]),
        ]
        for number, line in enumerate(report["lines"])
    )
    shown = _print_table(header, rows, left=2)
    if len(report["lines"]) > 1 and "against the first" in shown:
        print(_of_differences(report))
    of_balanced = f"; balanced {1 / len(report['classes']):.4f}" if balanced else ""
    print(f"baseline  {report['baseline_accuracy']:.4f}  (always the most frequent class{of_balanced})")
    for line in report["not_compared"]:
        of = f" on {printable(line['features'])}" if line["features"] else ""
        print(f"not compared: {line['head']}{of}: {printable(line['reason'])}")
    print(f"forward passes {report['forward_passes']}; seconds {report['seconds']:.1f}")


def show_answers_compared(report: dict[str, Any]) -> None:
    """Print tables of held-out answers, the best first, each with its difference to that one."""
    print(f"{report['pictures']} pictures of {len(report['classes'])} classes that all tables have")
    scored = [] if report["order"] == "accuracy" else [report["order"]]
    balanced = ["balanced"] if report["uneven"] else []
    rows = (
        [
            printable(line["predictions"]),
            *("" if line["score"] is None else f"{line['score']:.4f}" for _ in scored),
            f"{line['accuracy']:.4f}",
            *(f"{line['balanced_accuracy']:.4f}" for _ in balanced),
            _difference(line) if number else "",
            "{better} : {worse}".format(**line["mcnemar"]) if number else "",
            f"{line['mcnemar']['p_value']:.3f}" if number else "",
        ]
        for number, line in enumerate(report["lines"])
    )
    header = ["predictions", *scored, "accuracy", *balanced, "against the first", "alone right", "p"]
    _print_table(header, rows, left=1)
    print(_of_differences(report))
    print("alone right: pictures that this table alone has right, and the first alone; p: McNemar's exact test")


def _of_differences(report: dict[str, Any]) -> str:
    by, of = "by pictures", f" of {printable(report['positive'])}" if report["positive"] else ""
    if report["groups"]:
        count = report["groups"]["count"]
        by = f"over {count} group{'' if count == 1 else 's'}"
    return (
        f"against the first: difference in {report['order']}{of} on the same pictures, with its 95% interval {by};\n"
        "no different: it holds 0, so these pictures do not tell which of the two is better"
    )


def _difference(line: dict[str, Any]) -> str:
    low, high = line["difference_interval"]
    if low is None or high is None:
        return ""
    return f"{line['difference']:+.4f} ({low:+.4f} to {high:+.4f}) {line['difference_in_words']}"


def _print_table(header: list[str], rows: Iterator[list[str]], left: int = 0) -> list[str]:
    """Print rows of text, the first `left` columns flush left, and return the header of what is shown.

    Names from files are no markup. On a narrow terminal the last columns are left out, which is said, rather than every
    cell folded.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = AS_WIDE
    cells = [header, *rows]
    ends = list(accumulate(max(map(cell_len, column)) + BETWEEN for column in zip(*cells, strict=True)))
    fitting = max(LEAST_COLUMNS, sum(end - BETWEEN <= console.width for end in ends))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(header[:fitting]):
        table.add_column(Text(name), justify="left" if number < left else "right", overflow="fold")
    for row in cells[1:]:
        table.add_row(*map(Text, row[:fitting]))
    console.print(table)
    if fitting < len(header):
        print(f"in a wider terminal, and in what --json writes: {'; '.join(header[fitting:])}")
    return header[:fitting]


def short_names(features: list[str]) -> dict[str, str]:
    """Names of folders of specs -> the same without the fingerprint at their end, where that tells them apart."""
    short = {name: " + ".join(one.rpartition("-")[0] for one in name.split(" + ")) for name in features}
    return {name: one if [*short.values()].count(one) == 1 else name for name, one in short.items()}
