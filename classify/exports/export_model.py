"""A trained model as one file for another runtime, proven in that runtime before it gets its name."""

from typing import Any

from cache.arguments import checked_arguments
from cache.errors import UserError


@checked_arguments
def export_model(model: str, output: str, **options: Any) -> dict[str, Any]:
    """Not there yet."""
    raise UserError(f"{model}: export to {output} {options}")
