"""The result of a command on the terminal: counts, failures, times, scores."""

from typing import Any

from bottleneck_features.terminal.result_tables import show_search
from bottleneck_features.terminal.safe_text import printable

SHOWN_FAILURES = 100


def show_report(report: dict[str, Any]) -> None:
    """Print counts, failures, times and, where there are any, scores."""
    show_failures(report["failures"])
    counts = "images {images}: computed {computed}, cached {cached}, failed {failed}; forward passes {forward_passes}"
    print(counts.format(**report))
    if (views := report["views"]) > 1 or report.get("predict_views", 1) > 1:
        predicting = f"; predictions average {report['predict_views']}" if "predict_views" in report else ""
        print(f"views of a picture: {views}, by {report['recipe']}{predicting}")
    stages = {"start-up": report["startup_seconds"], "features": report["seconds"]} | report.get("stage_seconds", {})
    print("seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()))
    if report.get("accuracy") is not None:
        _show_scores(report)
    if "model" in report:
        print(f"model  {printable(report['model'])}")


def show_failures(failures: list[dict[str, str]]) -> None:
    """Print the paths of images that failed, with the reasons."""
    if failures:
        width = max(len(printable(failure["path"])) for failure in failures[:SHOWN_FAILURES])
        print("failed images")
        for failure in failures[:SHOWN_FAILURES]:
            print(f"  {printable(failure['path']):{min(width, 60)}}  {printable(failure['reason'])}")
        if len(failures) > SHOWN_FAILURES:
            print(f"  and {len(failures) - SHOWN_FAILURES} more: --json FILE lists all")


def _show_scores(report: dict[str, Any]) -> None:
    from bottleneck_features.terminal.decision_text import format_decisions
    from bottleneck_features.terminal.score_text import class_table, format_report, mean_lines, positive_lines
    from classify.scoring.metrics import Scores

    print()
    if report.get("search"):
        show_search(report["search"], report["scoring"])
        leaked = " but for those that are leaked" if report["leaked"] else ""
        print(f"No candidate has seen a picture that is scored below{leaked}.")
        print()
    print(format_report(Scores.from_json(report)))
    print()
    if report.get("positive"):
        print("\n".join(positive_lines(report["positive"])))
    if report.get("validation_accuracy") is not None:
        used = f", after it was used for {purpose}" if (purpose := report.get("validation_used_for")) else ""
        print(f"validation folder: accuracy {report['validation_accuracy']:.4f}{used}")
    if report.get("cv_accuracy") is not None:
        folds = len(report["cv_scores"])
        accuracy = f"{report['cv_accuracy']:.4f} +- {report['cv_std']:.4f}"
        print(f"cross-validation in {folds} folds: accuracy {accuracy}; all of their answers together:")
        together = Scores.from_json(report["cv"])
        print("\n".join([*mean_lines(together), class_table(together)]))
    if report["leaked"]:
        show_leaked(report)
    if report.get("decisions"):
        print(format_decisions(report["decisions"]))


def show_leaked(report: dict[str, Any]) -> None:
    """Print how many scored pictures are near-duplicates of training pictures, and the accuracy without these.

    A warning names the first.
    """
    line = f"leaked: {report['leaked']} scored pictures are near-duplicates of training pictures"
    if without := report["without_leaked"]:
        low, high = without["accuracy_interval"]
        line += f"; without them accuracy {without['accuracy']:.4f} ({low:.4f} to {high:.4f}, {without['n']} pictures)"
    print(line)
