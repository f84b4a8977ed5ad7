"""Errors as JSON problems, RFC 9457: `application/problem+json` with type, title, status and detail."""

import http
import json
from typing import Any

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that is answered as a problem. `detail`: one line that names no file of this machine.

    retry_after: seconds after which it is worth another try. members: further members of the problem.
    """

    def __init__(self, status: int, detail: str, retry_after: int | None = None, **members: Any):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    @property
    def body(self) -> bytes:
        """The problem as JSON."""
        said = {"type": "about:blank", "title": title(self.status), "status": self.status, "detail": self.detail}
        return json.dumps(said | self.members).encode()


def title(status: int) -> str:
    """What a status is called."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"
