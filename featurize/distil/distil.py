"""Train a small backbone of one's own on a folder of photographs, with a large backbone as its teacher."""

import os
import tempfile
from pathlib import Path
from typing import Any, Unpack

from cache.digest_table import DigestTable
from cache.errors import UserError
from cache.files.atomic import write_atomically
from featurize.extract.outcome import Progress
from featurize.outputs import is_below
from featurize.pictures.find_images import find_images
from featurize.resolve import resolve
from featurize.spec_options import SpecOptions

FEWEST = 100  # photographs: a tenth is held out to measure the student


def distil(
    data: str,
    output: str,
    *,
    crops: int,
    samples: int,
    side: int,
    cache_dir: str,
    progress: Progress,
    **teacher: Unpack[SpecOptions],
) -> dict[str, Any]:
    """Teach a small network to give the features of a large one, and save it as `output` (.keras).

    `teacher` names the backbone, weights, size and layer whose maps are cached for `crops` crops of every photograph
    in the folder `data`; the layers above it, up to what the backbone pools, are applied to the cached maps.
    `samples`: how many crops the student sees in all; `side`: the side of its input in pixels. The folder `output`
    without `.keras` holds what the training resumes from, and its learning curve. It may be deleted afterwards.

    Returns photographs, crops, forward_passes (of the teacher), samples, held_out_cosine, parameters, model, failures.
    Raises UserError for what the caller can mend.
    """
    folder = work_folder(output)
    if is_below(os.path.join(data, "any"), folder):  # the work folder may be deleted afterwards
        raise UserError(f"output {output}: its work folder would be {folder}, where the photographs are: name another")
    listing = find_images(data)
    _check_enough(data, len(listing.images))
    resolved = resolve(DigestTable(cache_dir), **teacher)
    from featurize.distil.samples import prepare
    from featurize.distil.student import plain_student
    from featurize.distil.teacher import crops_with_rows, pooling_teacher
    from featurize.distil.training import Plan, Training

    target = pooling_teacher(resolved)
    rows = crops_with_rows(listing.images, resolved, "crops", crops, cache_dir, progress)
    _check_enough(data, len(rows.paths))  # again: some may be damaged, or copies of others
    training = Training(prepare(rows, side, *target, folder, progress), Plan(samples, side))
    training.run(*written_beside(output), progress)
    student = plain_student(training.averaged, (side, side))
    with tempfile.TemporaryDirectory() as elsewhere:
        student.save(saved := os.path.join(elsewhere, "student.keras"))
        write_atomically(output, Path(saved).read_bytes())
    return {
        "photographs": len(rows.paths),
        "crops": crops * len(rows.paths),
        "forward_passes": rows.forward_passes,
        "samples": training.seen,
        "held_out_cosine": training.held_out_cosine(),
        "parameters": student.count_params(),
        "model": output,
        "failures": [vars(failure) for failure in [*listing.failures, *rows.failures]],
    }


def work_folder(output: str) -> str:
    """The folder of the checkpoint, learning curve and samples of `output`. Raises UserError for another suffix."""
    if not output.endswith(".keras"):
        raise UserError(f"output {output!r}: give a name that ends in .keras")
    return output.removesuffix(".keras")


def written_beside(output: str) -> tuple[str, str]:
    """The checkpoint and the learning curve of the training of `output`, in its work folder."""
    folder = work_folder(output)
    return os.path.join(folder, "checkpoint.npz"), os.path.join(folder, "curve.csv")


def _check_enough(data: str, photographs: int) -> None:
    if photographs < FEWEST:
        raise UserError(f"{data} has {photographs} different images: to distil takes {FEWEST}, better ten thousand")
