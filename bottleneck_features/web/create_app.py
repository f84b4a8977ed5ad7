"""The service as an ASGI application, for a server of one's own. Imports nothing heavy."""

from typing import Any

from cache.arguments import checked_arguments
from cache.errors import UserError


@checked_arguments
def create_app(model: str, **options: Any) -> Any:
    """Not there yet."""
    raise UserError(f"{model} {options}")
