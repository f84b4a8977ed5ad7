"""Fine-tuning from the cache: what is trained, on what, and what comes of it."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import pipeline
from cache.errors import UserError
from classify.heads.base import Examples
from classify.heads.finetune import tail_trainer
from classify.heads.finetune.finetune_head import FineTuneHead, train_tail
from classify.heads.finetune.tail_trainer import Trainer
from classify.heads.linear import LogRegHead
from featurize.backbones.tail import Tail, set_weights_vector, weights_vector
from featurize.extract.extractor import Extractor

NANO = SPEC | {"layer": "down16", "pooling": "none", "stored": "float16"}
MOBILENET = {
    "backbone": "mobilenet_v2_035",
    "weights": "random",
    "size": 32,
    "layer": "block_16_project",
    "pooling": "none",
}
QUICK: dict[str, Any] = {"epochs": 2, "verbose": 0, "random_state": 0}


def labels_of(paths: list[str]) -> np.ndarray:
    return np.array([Path(path).parent.name for path in paths])


@pytest.fixture(scope="module")
def paths(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.fixture(scope="module")
def nano(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Extractor, np.ndarray, np.ndarray]:
    """The extractor, maps (36, 2, h, w, c) of the pictures and their mirror images, and labels."""
    extractor = pipeline.open_extractor(str(tmp_path_factory.mktemp("nano")), views=2, **NANO)
    return extractor, extractor.features(paths)[1], labels_of(paths)


@pytest.fixture(scope="module")
def mobilenet(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Tail, np.ndarray, np.ndarray]:
    extractor = pipeline.open_extractor(str(tmp_path_factory.mktemp("mobilenet")), **MOBILENET)
    return extractor.tail(), extractor.features(paths)[1], labels_of(paths)


def of_tail(tail: Any, vector: np.ndarray) -> dict[str, np.ndarray]:
    set_weights_vector(tail, vector)
    return {variable.path.removeprefix("tail/"): variable.numpy() for variable in tail.weights}


def test_the_layers_above_the_cut_learn_and_the_loss_falls(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    head = FineTuneHead(extractor.tail(), validation_fraction=0, **QUICK).fit(maps, labels)
    pretrained = weights_vector(extractor.tail().build())
    assert head.tail_.shape == pretrained.shape and np.abs(head.tail_ - pretrained).max() > 1e-5
    assert head.history_["loss"][-1] < head.history_["loss"][0]
    assert list(head.history_) == ["seconds", "loss", "accuracy"]
    assert (head.n_iter_, head.best_epoch_) == (2, 2)
    assert (head.predict(maps) == labels).all()


def test_it_starts_from_the_logistic_regression_on_the_pooled_features(
    nano: tuple[Extractor, np.ndarray, np.ndarray], paths: list[str], tmp_path: Path
) -> None:
    extractor, maps, labels = nano
    tuned = FineTuneHead(extractor.tail(), learning_rate=1e-9, validation_fraction=0, **QUICK).fit(maps[:, 0], labels)
    pooled = pipeline.open_extractor(str(tmp_path), **SPEC).features(paths)[1]
    frozen = LogRegHead(C=tuned.C_).fit(pooled, labels)
    np.testing.assert_allclose(tuned.predict_proba(maps[:, 0]), frozen.predict_proba(pooled), atol=2e-3)


def test_an_epoch_shows_each_picture_once_in_one_of_its_views(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import classify.heads.finetune.finetune_head as training

    extractor, maps, labels = nano
    shown: list[np.ndarray] = []
    batch = training._batch

    def watched(*arguments: Any) -> Any:
        found = batch(*arguments)
        shown.append(found[0])
        return found

    monkeypatch.setattr(training, "_batch", watched)
    FineTuneHead(extractor.tail(), validation_fraction=0, batch_size=10, **(QUICK | {"epochs": 1})).fit(maps, labels)
    assert [len(some) for some in shown] == [9, 9, 9, 9]
    of = {view.tobytes(): (picture, number) for picture, two in enumerate(maps) for number, view in enumerate(two)}
    seen = [of[row.astype(maps.dtype).tobytes()] for some in shown for row in some]
    assert sorted(picture for picture, _ in seen) == list(range(36))
    assert {number for _, number in seen} == {0, 1}


def test_pictures_held_out_stop_the_training_and_are_then_trained_on_as_well(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, maps, labels = nano
    runs: list[tuple[int, int, int]] = []

    def watched(
        trainer: Trainer, head: FineTuneHead, epochs: int, training: Examples, held_out: Examples, *rest: Any
    ) -> Any:
        runs.append((len(training.labels), len(held_out.labels), epochs))
        return train_tail(trainer, head, epochs, training, held_out, *rest)

    monkeypatch.setattr("classify.heads.finetune.finetune_head.train_tail", watched)
    head = FineTuneHead(extractor.tail(), validation_fraction=0.25, patience=2, **(QUICK | {"epochs": 6}))
    head.fit(maps, labels)
    assert runs == [(27, 9, 6), (36, 0, 6 if head.n_iter_ == 6 else head.best_epoch_)]
    losses = head.history_["val_loss"]
    assert len(losses) == head.n_iter_ == len(head.history_["val_accuracy"])
    assert head.best_epoch_ == int(np.argmin(losses)) + 1 or head.best_epoch_ == 0
    assert head.n_iter_ == 6 or head.n_iter_ - head.best_epoch_ == 2


def test_pictures_that_are_given_stop_the_training_of_all_others(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, maps, labels = nano
    runs: list[tuple[int, int]] = []

    def watched(
        trainer: Trainer, head: FineTuneHead, epochs: int, training: Examples, held: Examples, *rest: Any
    ) -> Any:
        runs.append((len(training.labels), len(held.labels)))
        return train_tail(trainer, head, epochs, training, held, *rest)

    monkeypatch.setattr("classify.heads.finetune.finetune_head.train_tail", watched)
    given = np.arange(36) % 4 == 0
    head = FineTuneHead(extractor.tail(), validation_fraction=0.5, C=10.0, **QUICK)
    head.fit(maps[~given], labels[~given], validation=(maps[given], labels[given]))
    assert runs == [(27, 9)] and head.validates == "early stopping"
    chances = head.predict_proba(maps[given])  # of both views, as it is validated
    true = chances[np.arange(9), np.searchsorted(head.classes_, labels[given])]
    losses = head.history_["val_loss"]
    if head.best_epoch_:
        assert -np.log(true).mean() == pytest.approx(losses[head.best_epoch_ - 1], rel=0.02)


def test_weights_of_pictures_are_those_of_their_classes(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    of = {"brick": 4.0, "grass": 1.0, "gravel": 0.5}
    head = FineTuneHead(extractor.tail(), validation_fraction=0.25, C=10.0, **(QUICK | {"epochs": 1}))
    by_class = clone(head).set_params(class_weight=of).fit(maps, labels)
    by_picture = clone(head).fit(maps, labels, sample_weight=[of[label] for label in labels.tolist()])
    np.testing.assert_allclose(by_picture.predict_proba(maps), by_class.predict_proba(maps), atol=1e-5)
    kept = labels != "gravel"
    without = clone(head).fit(maps[kept], labels[kept]).predict_proba(maps)
    np.testing.assert_allclose(
        clone(head).fit(maps, labels, sample_weight=kept).predict_proba(maps), without, atol=1e-6
    )


def test_labels_that_say_nothing_stop_early(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    random = np.random.default_rng(0).permutation(labels)
    head = FineTuneHead(extractor.tail(), validation_fraction=0.3, patience=1, **(QUICK | {"epochs": 30}))
    assert head.fit(maps, random).n_iter_ < 30


def trainers_made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each trainer that is made from now on; none is there yet."""
    made: list[tuple[Any, ...]] = []
    first_form = Trainer.__init__

    def watched(self: Trainer, *arguments: Any) -> None:
        made.append(arguments)
        first_form(self, *arguments)

    monkeypatch.setattr(Trainer, "__init__", watched)
    tail_trainer._made.cache_clear()
    return made


def test_fits_share_one_compiled_trainer_and_none_sees_what_another_learnt(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, maps, labels = nano
    made = trainers_made(monkeypatch)

    def fitted(learning_rate: float) -> np.ndarray:
        head = FineTuneHead(extractor.tail(), learning_rate=learning_rate, **(QUICK | {"epochs": 1}))
        return head.fit(maps, labels).tail_

    alone, _, again = fitted(1e-4), fitted(1e-2), fitted(1e-4)
    assert len(made) == 1
    np.testing.assert_allclose(again, alone, atol=1e-6)


def test_another_file_of_weights_is_another_trainer(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"one")
    before = tail_trainer._stamp(str(file))
    file.write_bytes(b"another")
    assert tail_trainer._stamp(str(file)) != before
    assert tail_trainer._stamp("") == ()  # weights of no file never change


def test_one_view_is_the_same_with_and_without_its_axis(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    head = FineTuneHead(extractor.tail(), validation_fraction=0, **(QUICK | {"epochs": 1}))
    flat, deep = clone(head).fit(maps[:, 0], labels), clone(head).fit(maps[:, :1], labels)
    np.testing.assert_allclose(flat.tail_, deep.tail_, atol=1e-6)
    views = np.stack([flat.predict_proba(maps[:, view]) for view in (0, 1)])
    np.testing.assert_allclose(flat.predict_proba(maps), views.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_normalisation_learns_from_batches_only_when_asked(
    mobilenet: tuple[Tail, np.ndarray, np.ndarray], batch_norm: bool
) -> None:
    place, maps, labels = mobilenet
    head = FineTuneHead(place, batch_norm=batch_norm, validation_fraction=0, **(QUICK | {"epochs": 1})).fit(
        maps, labels
    )
    tail = place.build()
    before, after = of_tail(tail, weights_vector(tail)), of_tail(tail, head.tail_)
    moved = {name.rsplit("/", 1)[1] for name in before if (before[name] != after[name]).any()}
    assert {"kernel", "gamma", "beta"} <= moved
    assert (moved >= {"moving_mean", "moving_variance"}) == batch_norm


def test_a_class_weight_moves_the_decisions(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    shares = [
        FineTuneHead(extractor.tail(), class_weight=weight, validation_fraction=0, **QUICK)
        .fit(maps, labels)
        .predict_proba(maps)[:, 0]
        .mean()
        for weight in (None, {"brick": 20.0, "grass": 1.0, "gravel": 1.0})
    ]
    assert shares[1] > shares[0] + 0.01


def test_it_is_an_estimator_like_any_other(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    head = FineTuneHead(extractor.tail(), validation_fraction=0, **(QUICK | {"epochs": 1}))
    assert cross_val_score(head, maps, labels, cv=2).mean() > 0.8
    head.fit(maps, labels)
    expected = head.predict_proba(maps)
    again = pickle.loads(pickle.dumps(head))  # noqa: S301 - our own
    np.testing.assert_allclose(again.predict_proba(maps), expected, atol=1e-6)
    assert len(pickle.dumps(head)) < 5 * head.tail_.nbytes  # no network in it


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tail": None}, "tail=None: give"),
        ({"learning_rate": 0}, "learning_rate=0 is not valid"),
        ({"learning_rate": 3e38, "validation_fraction": 0}, "training diverged in epoch 1"),
        ({"class_weight": {"stone": 2.0}}, "'stone'"),
        ({"tensorboard": ""}, "tensorboard='' is not valid"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    nano: tuple[Extractor, np.ndarray, np.ndarray], options: dict[str, Any], reason: str
) -> None:
    extractor, maps, labels = nano
    with pytest.raises(UserError, match=reason):
        FineTuneHead(**({"tail": extractor.tail()} | QUICK | options)).fit(maps, labels)


def test_maps_of_another_layer_are_refused(nano: tuple[Extractor, np.ndarray, np.ndarray]) -> None:
    extractor, maps, labels = nano
    with pytest.raises(UserError, match=r"take maps of shape \(6, 6, 160\)"):
        FineTuneHead(extractor.tail(), **QUICK).fit(maps[:, :, :3], labels)
    with pytest.raises(UserError, match="only one class, brick"):
        FineTuneHead(extractor.tail(), **QUICK).fit(maps[:12], labels[:12])


def test_progress_is_told_by_epoch(
    nano: tuple[Extractor, np.ndarray, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    extractor, maps, labels = nano
    caplog.set_level(logging.INFO, "bottleneck")
    FineTuneHead(extractor.tail(), validation_fraction=0, **(QUICK | {"verbose": 1})).fit(maps, labels)
    assert [line.split()[1] for line in caplog.messages if line.startswith("epoch")] == ["1/2", "2/2"]


def test_parts_of_a_batch_teach_what_the_whole_teaches(mobilenet: tuple[Tail, np.ndarray, np.ndarray]) -> None:
    place, maps, labels = mobilenet
    numbers = np.unique(labels, return_inverse=True)[1]
    weights = np.linspace(0.5, 1.5, 31, dtype=np.float32)

    def taught(parts: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Loss and right answers of an odd number of pictures, and the gradients that Adam saw."""
        shared = Trainer(place, 3, False, "float32", parts)
        shared.start(np.full((1280, 3), 0.01) * [1, 2, 3], np.zeros(3))
        found = shared.step(maps[:31].astype(np.float32), numbers[:31], weights, np.float32(1e-4)).numpy()
        return found, [mean.numpy() for mean in shared._optimizer._means]

    (whole, expected), (two, gradients) = taught(1), taught(2)
    np.testing.assert_allclose(two, whole, rtol=1e-5)
    for one, other in zip(gradients, expected, strict=True):
        assert np.linalg.norm(one - other) <= 1e-3 * np.linalg.norm(other)
    assert sum(np.linalg.norm(each) > 0 for each in expected) > 5


def test_a_batch_is_parted_where_there_are_two_cores_and_enough_pictures(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import classify.heads.finetune.finetune_head as training

    extractor, maps, labels = nano
    made = trainers_made(monkeypatch)
    for threads, batch_size in ((1, 32), (2, 32), (2, 31)):
        monkeypatch.setattr(training, "THREADS", threads)
        head = FineTuneHead(extractor.tail(), batch_size=batch_size, validation_fraction=0, C=10.0, **QUICK)
        head.fit(maps[:, :1], labels)
    assert [parts for *_, parts in made] == [1, 2, 1]


def test_bfloat16_is_taken_where_the_processor_has_it_and_said(
    nano: tuple[Extractor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import classify.heads.finetune.finetune_head as training

    extractor, maps, labels = nano
    caplog.set_level(logging.INFO, "bottleneck")

    def fitted(**options: Any) -> FineTuneHead:
        chosen = QUICK | {"verbose": 1, "epochs": 1, "validation_fraction": 0, "C": 10.0} | options
        return FineTuneHead(extractor.tail(), **chosen).fit(maps[:, :1], labels)

    in_float32 = fitted(precision="float32")
    monkeypatch.setattr(training, "has_bf16_matrices", lambda: False)
    without = fitted()
    assert "bfloat16" not in caplog.text
    monkeypatch.setattr(training, "has_bf16_matrices", lambda: True)
    by_itself = fitted()
    assert caplog.text.count("products in bfloat16") == 1
    in_bf16 = fitted(precision="bf16")
    assert caplog.text.count("products in bfloat16") == 1
    np.testing.assert_allclose(without.tail_, in_float32.tail_, atol=1e-6)
    np.testing.assert_allclose(by_itself.tail_, in_bf16.tail_, atol=1e-6)
    pretrained = weights_vector(extractor.tail().build())
    apart, moved = (np.linalg.norm(some - in_float32.tail_) for some in (in_bf16.tail_, pretrained))
    assert 0 < apart < moved / 2
    assert by_itself.tail_.dtype == np.float32
