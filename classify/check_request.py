"""What a request to train is refused for, before any work."""

from collections.abc import Mapping
from typing import Any

from cache.errors import UserError
from classify.heads.head_table import HEADS, check_layer, make_head
from classify.saved.model_files import written_by_training
from classify.saved.persist import check_writable
from featurize.model_files.find_files import ONLY_KERAS, is_model_file
from featurize.outputs import check_outputs, inputs_of


def check_request(
    head: str,
    head_params: dict[str, Any],
    seed: int,
    cut: str | None,
    model: str,
    tensorboard: str | None,
    cache_dir: str,
    options: Mapping[str, Any],
) -> None:
    """Raise UserError for a head, parameters, a layer and outputs that cannot be used; the arguments of `train`."""
    make_head(head, head_params, seed)
    check_layer(head, cut, options.get("layer"), options.get("pooling"))
    if HEADS[head].maps and is_model_file(options.get("backbone", "")):
        raise UserError(f"backbone {options['backbone']}: {ONLY_KERAS}")
    check_writable(model)
    check_outputs(written_by_training(model, tensorboard), inputs_of(options), cache_dir=cache_dir)
