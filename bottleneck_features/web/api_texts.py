"""What the OpenAPI description says of bodies and answers, which routes read and write themselves."""

from typing import Any

from bottleneck_features.web.transport.problems import MEDIA_TYPE, title

_FILE = {"type": "string", "format": "binary"}
_NUMBER = {"type": ["number", "null"]}
_LABELS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "probability": {"type": "number"}},
    },
}

PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"picture": {"type": "array", "items": _FILE}}}
        },
        "image/*": {"schema": _FILE},
        "application/octet-stream": {"schema": _FILE},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["pictures"],
                "properties": {
                    "pictures": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["data"],
                            "properties": {"name": {"type": "string"}, "data": {"type": "string", "format": "byte"}},
                        },
                    }
                },
            }
        },
    },
}

_ANSWER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "What the client calls the picture."},
        "label": {"type": ["string", "null"]},
        "probability": _NUMBER,
        "margin": _NUMBER | {"description": "The first probability less the second."},
        "labels": _LABELS,
        "reason": {"type": "string", "description": "Why there is no label."},
        "would_be_labels": _LABELS | {"description": "Of a rejected picture."},
        "distance": _NUMBER | {"description": "From the training pictures; with reject."},
        "distance_limit": _NUMBER | {"description": "Beyond it a picture is unknown; with reject."},
        "decision": {"enum": ["accept", "review", "unknown"], "description": "With accept."},
    },
}

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with these problems."""
    content = {MEDIA_TYPE: {"schema": _PROBLEM}}
    return {status: {"description": title(status), "content": content} for status in statuses}


PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An answer for each picture, in the order sent.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "model": {
                            "type": "object",
                            "properties": {"number": {"type": "integer"}, "digest": {"type": "string"}},
                        },
                        "answers": {"type": "array", "items": _ANSWER},
                    },
                }
            }
        },
    },
    **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
}
