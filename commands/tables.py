"""What is best seen as a table: the scores of a search, the lines of a comparison."""

from collections.abc import Iterator
from typing import Any

from classify.leaderboard import short_names
from commands.terminal import printable
from featurize.disk import readable

AS_WIDE = 1000  # columns where no terminal limits them: a table in a file is not folded


def show_search(table: list[dict[str, Any]]) -> None:
    """Print the candidates of a search, the best first."""
    names = [*table[0]["params"]]
    folds = len(table[0]["scores"])
    print(f"search: {len(table)} candidates in {folds} folds of the training pictures, the first is taken")
    splits = [f"fold {number}" for number in range(1, folds + 1)]
    rows = (
        [*(str(row["params"][name]) for name in names), f"{row['accuracy']:.4f}", f"{row['std']:.4f}"]
        + [f"{score:.4f}" for score in row["scores"]]
        for row in sorted(table, key=lambda row: -row["accuracy"])
    )
    _print_table([*names, "accuracy", "+-", *splits], rows)


def show_comparison(report: dict[str, Any]) -> None:
    """Print the leaderboard, then what is not in it."""
    tuned = ", each tuned inside every fold" if report["search"] else ""
    print(f"{report['pictures']} pictures of {len(report['classes'])} classes in {report['folds']} folds{tuned}")
    header = ["head", "features", "accuracy", "95% interval", "log loss", "train, s", "predict, ms", "size", "passes"]
    names = short_names([line["features"] for line in report["lines"]])
    rows = (
        [
            line["head"],
            printable(names[line["features"]]),
            f"{line['accuracy']:.4f}",
            "{:.4f} to {:.4f}".format(*line["accuracy_interval"]),
            f"{line['log_loss']:.4f}",
            f"{line['train_seconds']:.2f}",
            f"{1000 * line['predict_seconds']:.3f}",
            readable(line["bytes"]),
            str(line["forward_passes"]),
        ]
        for line in report["lines"]
    )
    _print_table(header, rows, left=2)
    print(f"baseline  {report['baseline_accuracy']:.4f}  (always the most frequent class)")
    for line in report["not_compared"]:
        of = f" on {printable(line['features'])}" if line["features"] else ""
        print(f"not compared: {line['head']}{of}: {printable(line['reason'])}")
    print(f"forward passes {report['forward_passes']}; seconds {report['seconds']:.1f}")


def _print_table(header: list[str], rows: Iterator[list[str]], left: int = 0) -> None:
    """Print rows of text, the first `left` columns flush left. Names from files are no markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = AS_WIDE
    console.print(table)
