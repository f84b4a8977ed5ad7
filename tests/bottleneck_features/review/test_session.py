"""Labels in, what the head says of all pictures out: on photographs of three surfaces that only the test can name."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bottleneck_features.review.growing_gallery
import bottleneck_features.review.session
import featurize.machine.memory
import pipeline
from bottleneck_features.review.growing_gallery import FIRST, Gallery
from bottleneck_features.review.queue_pages import Request, queue_page
from bottleneck_features.review.session import Session
from bottleneck_features.review.side import side_of
from cache.errors import UserError
from classify.labelling.ask import ask
from classify.labelling.label_log import NONE_OF_THESE, NOT_SURE, Entry, open_log
from classify.labelling.learner import Check, check
from classify.labelling.queues import mistakes, stacks, to_confirm
from featurize.pictures.find_images import find_images


@pytest.fixture
def gallery(flat: Path, review_cache: Path) -> Gallery:
    extractor = pipeline.open_extractor(str(review_cache), backbone="nano")
    return Gallery(str(flat), find_images(str(flat)).images, extractor)


@pytest.fixture
def session(gallery: Gallery, tmp_path: Path) -> Iterator[Session]:
    with open_log(str(tmp_path / "labels.csv")) as labels:
        found = Session(gallery, labels)
        found.start()
        found._threads[0].join()  # all pictures are there
        yield found
        found.close()


def truth(session: Session) -> list[str]:
    return [name.partition(".")[0] for name in session.view.pictures.names]


def label(session: Session, numbers: np.ndarray | list[int]) -> None:
    names = truth(session)
    session.put({int(number): Entry(names[number], how="asked") for number in numbers})


def test_ten_typical_labels_name_nearly_all_pictures(session: Session) -> None:
    view = session.view
    label(session, ask(view.pictures.pool, view.labelled, None))
    view = session.wait_until_learnt()
    assert view.opinion
    named = np.array(view.opinion.classes)[view.opinion.answers]
    assert (named == np.array(truth(session))).mean() > 0.9


def test_what_the_side_says_has_its_interval_and_what_it_is_of(session: Session) -> None:
    assert side_of(session)["accuracy"] is None
    label(session, list(range(36)))
    side = side_of(session) if session.wait_until_learnt() else {}
    low, high = side["accuracy"]["interval"]
    assert side["accuracy"]["drawn"] and low <= side["accuracy"]["value"] <= high
    assert {one["name"]: one["count"] for one in side["classes"]} == {"brick": 12, "grass": 12, "gravel": 12}
    assert side["labelled"] == 36 and all(one["called"] == 0 for one in side["classes"])
    assert side["accepted"]["left"] == 0 and "takes 149 held-out answers" in side["accepted"]["refused"]
    assert side["accepted"]["refused"].endswith("(95% confidence)")
    session.put({0: Entry("", how=NOT_SURE), 1: Entry("", how=NOT_SURE)})
    assert side_of(session)["states"] == {NOT_SURE: 2, NONE_OF_THESE: 0} and side_of(session)["labelled"] == 34


def test_with_few_drawn_labels_the_accuracy_says_that_they_were_asked(session: Session) -> None:
    label(session, [number for number in range(36) if number != session.view.pictures.pool.order[0]][:20])
    session.wait_until_learnt()
    accuracy = side_of(session)["accuracy"]
    assert not accuracy["drawn"] and "asked" in accuracy["of"]


def test_what_was_named_in_stacks_is_learnt_and_no_accuracy_is_of_it(session: Session) -> None:
    names = truth(session)
    session.put({number: Entry(names[number], how="stack") for number in range(36)})
    session.rename("brick", "wall")
    side = side_of(session) if session.wait_until_learnt() else {}
    assert side["labelled"] == 36 and side["accuracy"] is None and side["curve"] == []
    assert side["accepted"]["refused"] == "fewer than 30 pictures were named one by one"
    first = session.view.pictures.pool.order[:30]
    asked = queue_page(session.view, Request("ask", count=10))["pictures"]
    assert [one["picture"] for one in asked] == first[:10].tolist() and all(one["together"] for one in asked)
    label(session, first)
    accuracy = side_of(session)["accuracy"] if session.wait_until_learnt() else {}
    assert accuracy["drawn"] and accuracy["of"] == "30 pictures drawn at random"


def test_what_has_no_label_though_it_was_drawn_does_not_end_the_sample(session: Session) -> None:
    order = session.view.pictures.pool.order
    label(session, order[[number for number in range(33) if number != 4]])
    session.put({int(order[4]): Entry("", how=NONE_OF_THESE)})
    accuracy = side_of(session)["accuracy"] if session.wait_until_learnt() else {}
    assert accuracy["drawn"] and accuracy["of"] == "32 pictures drawn at random"


def test_a_picture_with_a_wrong_label_is_a_mistake_of_that_cell(session: Session) -> None:
    label(session, list(range(36)))
    wrong = truth(session).index("brick")
    session.put({wrong: Entry("grass", how="asked")})
    view = session.wait_until_learnt()
    assert view.check
    classes = view.check.held_out.classes
    assert wrong in mistakes(view.check, classes.index("grass"), classes.index("brick"))


def test_what_is_called_a_class_is_shown_surest_first_and_labelled_ones_are_not(session: Session) -> None:
    label(session, list(range(12)))
    view = session.wait_until_learnt()
    assert view.opinion
    shown = [to_confirm(view.opinion, code, view.settled) for code in range(3)]
    assert sorted(np.concatenate(shown).tolist()) == list(range(12, 36))
    assert all((np.diff(view.opinion.confidence[numbers]) <= 0).all() for numbers in shown)


def test_stacks_hold_every_picture_once_and_mostly_one_class_each(session: Session) -> None:
    found = stacks(session.view.pictures.pool, np.arange(36), 6)
    names = np.array(truth(session))
    assert sorted(np.concatenate([stack.members for stack in found]).tolist()) == list(range(36))
    alike = [np.unique(names[stack.members], return_counts=True)[1].max() for stack in found]
    assert sum(alike) >= 30


def test_classes_keep_their_place_whatever_they_are_called_and_counted(session: Session) -> None:
    label(session, [0])
    first = truth(session)[0]
    others = [number for number, name in enumerate(truth(session)) if name != first][:5]
    label(session, others)
    session.add_class("moss")
    assert next(iter(session.view.classes)) == first and session.view.classes["moss"] == 0
    session.rename(first, "a longer name than any other")
    assert next(iter(session.view.classes)) == "a longer name than any other" == session.view.labels[0]
    assert session.rename("moss", "") == 0 and "moss" not in session.view.classes


def test_what_is_undone_gives_each_class_its_place_back(session: Session) -> None:
    """Keys go by place: after an undo each still means the same."""
    label(session, list(range(36)))
    classes = [*session.view.classes]
    session.rename(classes[0], "stone")
    session.rename(classes[1], "stone")
    session.add_class("moss")
    session.put({0: Entry("mistyped")})
    for _ in range(3):
        session.undo()
    assert [*session.view.classes] == [*classes, "moss"]
    session.rename("moss", "")
    session.undo()
    assert [*session.view.classes] == [] and not session.view.labelled.any()


def test_what_was_said_of_one_picture_changes_nothing_of_the_others(session: Session) -> None:
    label(session, list(range(36)))
    before = session.view
    session.put({3: Entry("", how=NOT_SURE)})
    after = session.view
    changed = [number for number in range(36) if before.labels[number] != after.labels[number]]
    assert changed == [3] and after.states[3] == NOT_SURE and before.states[3] == ""


def test_the_learning_curve_is_of_the_labels_that_were_checked(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is undone in the meantime has no label any more, which is no class."""

    def check_and_undo(*given: Any) -> Check | None:
        found = check(*given)
        if session.log.labels:
            session.undo()
        else:  # what was checked before comes first
            with session._change:
                session._change.wait_for(lambda: session.view.curve, 30)
        return found

    monkeypatch.setattr(bottleneck_features.review.session, "check", check_and_undo)
    label(session, list(range(36)))
    view = session.wait_until_learnt()
    assert session._threads[2].is_alive() and not view.labelled.any()
    assert view.curve[-1].pictures > 20


def test_undo_and_renaming_reach_the_view(session: Session) -> None:
    label(session, [0, 1])
    assert session.rename(truth(session)[0], "stone") >= 1 and session.view.labels[0] == "stone"
    session.undo()
    assert session.view.labels[0] == truth(session)[0]
    assert sorted(session.undo()) == [0, 1] and not session.view.labelled.any()
    assert session.undo() == []
    with pytest.raises(IndexError, match="99"):
        session.put({99: Entry("x")})


def test_labels_given_before_the_pictures_are_there_are_kept(gallery: Gallery, tmp_path: Path) -> None:
    path = str(tmp_path / "labels.csv")
    with open_log(path) as labels:
        labels.put({"brick.0.png": Entry("brick"), "gone.png": Entry("grass")})
    with open_log(path) as labels:
        found = Session(gallery, labels)
        found.start()
        found._threads[0].join()
        assert found.view.labels.tolist().count("brick") == 1 and labels.labels["gone.png"] == "grass"
        found.close()


def test_a_session_whose_pictures_cannot_be_computed_says_why(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("weights are gone")

    monkeypatch.setattr(gallery._extractor, "features", refuse)
    with open_log(str(tmp_path / "labels.csv")) as labels:
        found = Session(gallery, labels)
        found.start()
        found._threads[0].join()
        assert side_of(found)["stopped"] == "no more pictures are computed: weights are gone"
        found.close()


def test_a_head_that_cannot_be_fitted_is_said_and_labels_are_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*_: object) -> None:
        raise MemoryError("no room for planes")

    monkeypatch.setattr("bottleneck_features.review.session.learn", stumble)
    label(session, [0, 1])
    session._threads[1].join()
    stopped = "labels are kept, but nothing learns from them any more: MemoryError('no room for planes')"
    assert side_of(session)["stopped"] == stopped and "no room for planes" in caplog.text
    label(session, [2])
    assert len(session.log.labels) == 3


def test_the_first_pictures_are_there_before_the_last(flat: Path, gallery: Gallery) -> None:
    sizes = []
    paths = [str(path) for path in flat.iterdir()] * 6  # copies of contents, each a file that is listed
    several = Gallery(str(flat), paths, gallery._extractor)
    several.fill(lambda: sizes.append(len(several.pictures.names)), threading.Event())
    assert sizes[0] == FIRST and sizes[-1] == len(paths)


@pytest.mark.parametrize("by", ["number", "memory"])
def test_of_too_many_pictures_a_sample_is_shown_and_said(
    by: str, flat: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [str(path) for path in flat.iterdir()] * 6
    if by == "number":
        monkeypatch.setattr(bottleneck_features.review.growing_gallery, "MOST", 100)
    else:
        monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 100 * 12 * 512)
    several = Gallery(str(flat), paths, gallery._extractor)
    with caplog.at_level("WARNING", "bottleneck"):
        several.fill(lambda: None, threading.Event())
    assert several.done == several.total == len(several.pictures.names) < len(paths)
    assert f"{several.total} pictures of {len(paths)} are shown, drawn at random" in caplog.text
