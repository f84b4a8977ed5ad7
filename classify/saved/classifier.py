"""A trained head together with the extractor of its features: images in, labels out."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError, log, naming_packages
from cache.stored_rows import Rows
from classify.answers import Answers, prediction_rows
from classify.data.beyond_memory import features_for
from classify.data.view_counts import Views
from classify.decisions.decide import Decisions
from classify.saved.persist import Saved
from classify.scoring.outliers import OutlierDetector
from featurize.extract.extractor import Extractor
from featurize.extract.network_extractor import ComputingExtractor
from featurize.extract.outcome import Outcome
from featurize.pictures.sources import Source, expand

if TYPE_CHECKING:
    import pandas as pd

    from classify.heatmaps.heat_map import HeatMap

PICTURES = 4096  # predicted at a time: what is not kept in the cache waits in memory


class Classifier:
    """What `pipeline.load` returns; keeps the head and, once a picture needed it, the network warm.

    Images may be a path, a folder, bytes of an image file, a PIL image, an array, or a list of these. They are
    decoded as in training and looked up in the cache first. What is missing there is computed and not kept: the cache
    does not grow, however many pictures a server is asked about. With `use_cache=True` it is stored as well, with
    `use_cache=False` the cache is left alone. With `reject`, the share of known pictures to keep (such as 0.95),
    images further from the training pictures than that share of these are from each other get no answer: see
    `classify.scoring.outliers`. How many there are is announced, why is in `top_k`. Raises UserError for what is no
    share, and for models without what this takes. `saved.estimator` is the head as a scikit-learn estimator.
    """

    def __init__(self, saved: Saved, extractor: ComputingExtractor):
        self.saved = saved
        self.extractor = extractor
        self.classes_: list[str] = saved.record["classes"]

    def predict(self, images: Any, *, use_cache: bool | None = None, reject: float | None = None) -> np.ndarray:
        """The label of each image, in the order given: (n,) of str; None (announced) where damaged or rejected."""
        probabilities = self.predict_proba(images, use_cache=use_cache, reject=reject)
        labels = np.full(len(probabilities), None, dtype=object)
        known = ~np.isnan(probabilities).any(axis=1)
        labels[known] = np.array(self.classes_, dtype=object)[probabilities[known].argmax(axis=1)]
        return labels

    def predict_proba(self, images: Any, *, use_cache: bool | None = None, reject: float | None = None) -> np.ndarray:
        """The probabilities (n, classes) float64 in the order of `classes_`; NaN where damaged or rejected."""
        answers = self.answers(expand(images), use_cache, reject)
        answers.probabilities[list(answers.unknown)] = np.nan
        return answers.probabilities

    def top_k(
        self,
        images: Any,
        k: int = 3,
        *,
        use_cache: bool | None = None,
        reject: float | None = None,
        accept: float | None = None,
        coverage: float | None = None,
    ) -> "pd.DataFrame":
        """The k most probable labels of each image, as columns path, rank (from 1), label, probability, margin.

        An image that came without a path is called "image 1", counted from 1; one that is damaged or rejected has one
        row, label None. With `reject` there are the columns reason (in one line; else empty), would_be_label,
        would_be_probability and distance as well, with `accept` reason and decision, with `coverage` labels: see
        `classify.answers` and `answers`.
        """
        with naming_packages():
            import pandas as pd

        answers = self.answers(expand(images), use_cache, reject, accept, coverage)
        rows, columns = prediction_rows(answers, self.classes_, k), answers.columns
        # As objects: pandas' own strings must be UTF-8.
        texts = ("path", "label", "reason", "would_be_label", "decision", "labels")
        kinds = dict.fromkeys(texts, "object") | {"rank": "int64"}
        return pd.DataFrame(
            {name: pd.Series([row[name] for row in rows], dtype=kinds.get(name, "float64")) for name in columns}
        )

    def heatmaps(
        self, images: Any, *, use_cache: bool | None = None, reject: float | None = None
    ) -> "list[HeatMap | None]":
        """Where in each image its label comes from; None where it has no label. See `classify.heatmaps.heat_map`.

        A map of a linear head on features of pooling avg or flatten takes one forward pass, another one 36. Raises
        UserError where the network cannot be had.
        """
        from classify.heatmaps.make_heatmaps import heatmaps_of

        sources = expand(images)
        return heatmaps_of(self, sources, self.answers(sources, use_cache, reject).codes, use_cache).maps

    def probabilities(self, sources: list[Source], use_cache: bool | None = None) -> tuple[Outcome, np.ndarray]:
        """What happened to each source, and its probabilities as in `predict_proba`; failures are announced."""
        answers = self.answers(sources, use_cache)
        return answers.outcome, answers.probabilities

    def answers(
        self,
        sources: list[Source],
        use_cache: bool | None = None,
        reject: float | None = None,
        accept: float | None = None,
        coverage: float | None = None,
    ) -> Answers:
        """What became of each source; failures are announced, and how many were rejected.

        With `accept`, such as 0.98, there is a decision for each: "accept" where answers as sure as this one are right
        in that share at least, see `classify.decisions.thresholds`; else "review", or "unknown" where it is rejected.
        With `coverage`, such as 0.9, a set of labels that holds the true one in that share, see
        `classify.decisions.prediction_sets`. Raises UserError where the model's held-out answers do not support it.
        """
        asked = accept is not None or coverage is not None
        decisions = self._decisions(accept, coverage) if asked else None
        limit = None if reject is None else self.outliers.limit(reject)
        outcome = Outcome(sources, len(self.extractor.stores))
        distances = None if limit is None else np.full(len(sources), np.nan)
        answers = Answers(outcome, np.full((len(sources), len(self.classes_)), np.nan), distances)
        count = 0
        for chunk in np.split(np.arange(len(sources)), range(PICTURES, len(sources), PICTURES)):
            part, found, rows = self._predicted([sources[position] for position in chunk], use_cache)
            outcome.put(chunk, part)
            answered = chunk[part.digests.known]
            answers.probabilities[answered] = found
            count += len(found)
            if limit is None or distances is None or not len(found):
                continue
            distances[answered] = away = self.outliers.distances_of(rows)
            for far in np.flatnonzero(away > limit):
                answers.unknown[int(answered[far])] = (
                    f"unknown: distance {away[far]:.3f} from the training pictures; "
                    f"{reject:g} of known ones are within {limit:.3f}"
                )
        for failure in outcome.failures:
            log.warning("no prediction for %s: %s", failure.path, failure.reason)
        if answers.unknown:
            first = min(answers.unknown)
            log.warning(
                "%d of %d pictures are unlike those trained on and get no label, the first is %s (%s)",
                len(answers.unknown),
                count,
                outcome.name(first),
                answers.unknown[first],
            )
        if decisions:
            answers.decisions.update(decisions.columns(answers))
        return answers

    def check_width(self, features: int) -> None:
        """Raise UserError unless rows of so many features are what the head was fitted on."""
        fitted = getattr(self.saved.predictor, "n_features_in_", features)
        if fitted != features:
            raise UserError(
                f"model {self.saved.path} takes rows of {fitted} features, those of its spec have {features}"
            )

    def _decisions(self, accept: float | None, coverage: float | None) -> Decisions:
        """What the model decides on. Raises UserError where its held-out answers do not support it."""
        views, trained = len(self.extractor.stores), Views.of_record(self.saved.record).predict
        if views != trained:
            log.warning("decisions rest on answers by %d views of a picture; these are by %d", trained, views)
        return Decisions.of(self.saved.answers, self.classes_, accept, coverage)

    @property
    def of_pixels(self) -> ComputingExtractor:
        """What computes from pixels the rows that `decided` takes."""
        return self.extractor

    def decided(self, rows: np.ndarray) -> np.ndarray:
        """The probabilities (n, k) of rows (n, d) of `of_pixels`."""
        return np.asarray(self.saved.predictor.predict_proba(rows))

    @property
    def outliers(self) -> OutlierDetector:
        """What finds pictures unlike those trained on. Raises UserError where the model has nothing of the kind."""
        if self.saved.outliers is None:
            cannot = f"model {self.saved.path} cannot reject unknown pictures"
            if self.saved.spec.pooling == "none":
                raise UserError(f"{cannot}: its network ends in decisions, without features: train another head")
            raise UserError(f"{cannot}: it was saved without what tells them: train it again (features are cached)")
        return self.saved.outliers

    def _predicted(self, sources: list[Source], use_cache: bool | None) -> tuple[Outcome, np.ndarray, Rows]:
        """What happened to each source, the probabilities (m, classes) of those that have features, and these."""
        outcome, rows = self._features(self.extractor, sources, use_cache)
        if not len(rows):
            return outcome, np.empty((0, len(self.classes_))), rows
        self.check_width(rows.shape[-1])
        return outcome, self.saved.predictor.predict_proba(rows), rows

    @staticmethod
    def _features(extractor: Extractor, sources: list[Source], use_cache: bool | None) -> tuple[Outcome, Rows]:
        if use_cache:
            return features_for(None, extractor, sources)
        return extractor.complete(sources) if use_cache is None else extractor.without_cache(sources)
