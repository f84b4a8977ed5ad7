"""What a model may decide alone, as plain text for a terminal; the complete tables go to JSON."""

from typing import Any

from bottleneck_features.terminal.safe_text import printable

SHOWN_GROUPS = 3
CHECKED_BY_NONE = "the head was fitted again on all pictures: none is left to check this on"
FEW_GROUPS = 40  # below which promises are broken more often than said, see docs/explanation/decisions.md


def format_decisions(decisions: dict[str, Any]) -> str:
    """Lines on accepted answers, label sets and the worst groups, of what `classify.decisions.summary` says."""
    lines = _accept_lines(decisions["accept"]) if decisions["accept"] else []
    if decisions["accept"] and not decisions["accept"]["refused"] and 0 < decisions["named_groups"] < FEW_GROUPS:
        lines.append(
            f"{decisions['named_groups']} groups are few: of 20 such a promise is broken in 11% of cases, not in 5%; "
            f"of {FEW_GROUPS} it holds"
        )
    lines += _coverage_lines(decisions["coverage"]) if decisions["coverage"] else []
    if worst := decisions["group_scores"][:SHOWN_GROUPS]:
        shown = [f"{printable(row['group'])} {_percent(row['accuracy'])} of {row['n']}" for row in worst]
        lines.append(f"worst of {len(decisions['group_scores'])} groups, right: {', '.join(shown)}")
    return "\n".join(lines)


def _accept_lines(accept: dict[str, Any]) -> list[str]:
    if accept["refused"]:
        return [accept["refused"]]
    share, target, scored = accept["share"], f"{100 * accept['target']:g}%", accept["scored"]
    lines = [
        f"{_percent(share)} of new pictures can be accepted at {target} "
        f"(at least {_percent(accept['share_interval'][0])}); {_percent(1 - share)} go to a person"
    ]
    lines += [f"none of {printable(name)!r}: {printable(why)}" for name, why in accept["refused_classes"].items()]
    if not scored:
        return [*lines, CHECKED_BY_NONE]
    checked = f"of {scored['n']} scored pictures {scored['accepted']} accepted"
    if scored["precision"] is not None:
        low, high = scored["precision_interval"]
        checked += (
            f", {_percent(scored['precision'])} of these right (95% interval {_percent(low)} to {_percent(high)})"
        )
    return [*lines, checked]


def _coverage_lines(coverage: dict[str, Any]) -> list[str]:
    if coverage["refused"]:
        return [coverage["refused"]]
    scored, asked = coverage["scored"], f"{100 * coverage['target']:g}% (sure of {100 * coverage['sure']:g}%)"
    always = ", ".join(repr(printable(name)) for name in coverage["always"])
    lines = [f"label sets always have {always}, of which no held-out answer tells how sure it is"] if always else []
    if not scored:
        return [*lines, f"label sets at {asked}; {CHECKED_BY_NONE}"]
    return [
        f"label sets at {asked}: {_percent(scored['coverage'])} of {scored['n']} scored pictures have the label in "
        f"theirs, {scored['mean_size']:.2f} labels on average",
        *lines,
    ]


def _percent(share: float) -> str:
    """Whole percents, but never 0% or 100% of what is neither."""
    if share in (0, 1) or 0.005 < share < 0.995:
        return f"{round(100 * share)}%"
    return f"{min(max(100 * share, 0.1), 99.9):.1f}%"
