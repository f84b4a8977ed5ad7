"""What the report says of decisions: the targets that are supported, the curve, the groups with the worst first."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.held_out import answers_of, calibrated
from helpers.report_findings import findings_of

import pipeline
from bottleneck_features.report.findings import Findings
from bottleneck_features.report.page.page import render
from bottleneck_features.report.parts.delegation import TARGETS, delegation
from classify.decisions.group_scores import group_scores
from classify.decisions.saved_answers import SavedAnswers
from classify.decisions.thresholds import Acceptance

CLASSES = ["brick", "grass"]
HOSTILE = "<script>document.title='ran'</script>\u202e"


@pytest.fixture(scope="module")
def answers() -> SavedAnswers:
    """600 answers at 6 sites, and 10 in none; at one site half of them are wrong."""
    random = np.random.default_rng(0)
    confidence, right = calibrated(random, 610)
    sites = np.arange(610) % 6
    right[np.flatnonzero(sites == 4)[::2]] = False
    sites[600:] = -1
    names = ["a", "b", "c", "d", HOSTILE, "f"]
    return replace(answers_of(confidence, right), sites=sites.astype(np.int32), names=names)


@pytest.fixture(scope="module")
def findings(surfaces: Path, warm_cache: Path) -> Findings:
    paths = sorted(str(path) for path in surfaces.rglob("*.png"))
    rows = pipeline.Featurizer(cache_dir=str(warm_cache), **SPEC).fit_transform(paths)
    return findings_of(str(surfaces), paths, [Path(path).parent.name for path in paths], rows)


def test_groups_are_counted_each_for_itself_the_worst_first(answers: SavedAnswers) -> None:
    accepted = answers.confidence > 0.9
    scores = group_scores(answers, accepted)
    assert len(scores) == 6 and scores[0].name == HOSTILE
    assert [score.interval[1] for score in scores] == sorted(score.interval[1] for score in scores)
    for score in scores:
        inside = answers.sites == answers.names.index(score.name)
        assert score.n == 100 and score.accuracy == pytest.approx(answers.right[inside].mean())
        assert score.accepted == pytest.approx(accepted[inside].mean())
        assert score.precision == pytest.approx(answers.right[inside & accepted].mean())
        assert score.interval[0] < score.accuracy < score.interval[1]
    assert group_scores(answers)[0].accepted is None
    nothing = group_scores(answers, np.zeros(610, bool))[0]
    assert nothing.accepted == 0 and nothing.precision is None


def test_a_single_mistake_at_a_small_site_is_not_the_worst() -> None:
    right = np.arange(51) > 20
    right[50] = False
    sites = np.append(np.zeros(50, np.int32), np.int32(1))
    found = replace(answers_of(np.full(51, 0.9), right), sites=sites, names=["large", "small"])
    assert [score.name for score in group_scores(found)] == ["large", "small"]


def test_the_report_has_what_the_answers_support(answers: SavedAnswers, findings: Findings) -> None:
    right = replace(answers, predicted=answers.predicted, truth=answers.predicted)
    found = delegation(right, CLASSES)
    assert found and [accepted.target for accepted in found.targets] == [*TARGETS] and found.refused == []
    found = delegation(answers, CLASSES)
    assert found and found.answers == 610 and len(found.groups) == 6
    supported = {accepted.target: accepted.share for accepted in found.targets}
    assert [target for target, _ in found.refused] == [target for target in TARGETS if target not in supported]
    for target, share in supported.items():
        assert share == Acceptance.of(answers, CLASSES, target).accepted.mean()
    page = render(replace(findings, delegation=found))
    assert "299" in page and "document.title='ran'</script>" not in page and "\\u202e" in page
    assert page.index("document.title=&#39;ran") < page.index('<bdi class="name" title="a">')
    assert page.count('aria-label="Precision by share accepted') == 1
    assert delegation(None, CLASSES) is None
    assert "saved without held-out answers" in render(findings)


def test_the_report_of_a_model_shows_its_answers(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(warm_cache, tmp_path / "cache")
    model = str(tmp_path / "logreg.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(tmp_path / "cache"), **SPEC)
    found = pipeline.report(str(surfaces), model, str(tmp_path / "report.html")).delegation
    assert found and found.answers == 29 and found.groups == []
    assert dict(found.refused)[0.98] == 149 and 'id="decisions"' in (tmp_path / "report.html").read_text()
