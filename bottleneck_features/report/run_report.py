"""A saved model and a folder of labelled pictures -> one HTML file."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from bottleneck_features.report.collect_findings import collect
from bottleneck_features.report.findings import Findings
from bottleneck_features.report.parts.heat_maps import with_heatmaps
from bottleneck_features.report.sample import sampled
from classify.data.dataset import dataset_of
from classify.data.default_data import given_or_surfaces
from classify.data.view_counts import Views
from classify.evaluate import scorable
from classify.labels.label_tables import table_name
from classify.labels.read_labels import announced_labels
from classify.plan_options import ReportOptions, split_plan
from classify.saved.classifier import Classifier
from classify.saved.model_files import read_with_model
from classify.scoring.two_classes import check_positive
from featurize.outputs import check_outputs, inputs_of, named
from featurize.pictures.find_images import Failure
from featurize.replaceable import require_kind

if TYPE_CHECKING:
    from featurize.extract.outcome import Progress


def run_report(
    classifier: Classifier, data: str | None, output: str, progress: "Progress | None", options: ReportOptions
) -> Findings:
    """Read the labels, compute the features that the cache lacks, find what there is to say, write it to `output`.

    Returns what is in the file; its `seconds` are those of every stage. Raises as `pipeline.report`.
    """
    from bottleneck_features.report.page.page import write_report
    from bottleneck_features.report.page.thumbnails import Kept

    started = time.perf_counter()
    plan, label_source = split_plan(options)
    heatmaps = label_source.pop("heatmaps", True)
    extractor = classifier.extractor
    reads = [*read_with_model(classifier.saved.path, extractor.record()), *inputs_of(label_source)]
    check_positive(classifier.classes_, plan.positive, plan.prevalence)
    check_outputs(named("--output", output), reads, data=data, cache_dir=extractor.cache_dir)
    require_kind("--output", output, "report of a model")
    data = given_or_surfaces(data, label_source)
    images = scorable(classifier.saved, announced_labels(data, False, label_source), extractor.table, every=True)
    views = Views(Views.of_record(classifier.saved.record).recipe, predict=len(extractor.stores))
    head = "finetune" if extractor.spec.pooling == "none" else None
    started = time.perf_counter() - started
    dataset, cost = dataset_of(extractor, images, views, head, started, progress)
    found = len(dataset.labels)
    dataset = sampled(dataset)
    # Here products are small: where anything else runs, threads that wait for each other take many times as long.
    # (Of libraries that are loaded by now, therefore `bottleneck_features.report.parts.picture_map` imports
    # scikit-learn at once.)
    with threadpool_limits(1):
        findings = collect(
            classifier,
            dataset,
            [Failure(**failure) for failure in cost["failures"]],
            data=data if data is not None else table_name(label_source["labels"]),
            forward_passes=cost["forward_passes"],
            plan=plan,
            seconds={"start-up": cost["startup_seconds"], "features": cost["seconds"]},
        )
    if len(dataset.labels) < found:
        shown = f"{findings.scored}; of {found:,} pictures {len(dataset.labels):,} are here, drawn at random"
        findings = replace(findings, scored=shown)
    if heatmaps:
        findings = with_heatmaps(findings, classifier, progress)
    started = time.perf_counter()
    write_report(findings, output, Kept(extractor.cache_dir, [digest.tobytes() for digest in dataset.digests]))
    findings.seconds["page"] = time.perf_counter() - started
    return findings
