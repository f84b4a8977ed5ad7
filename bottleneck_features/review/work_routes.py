"""What else the page asks for: labels that are somewhere already, folders of classes, a trained model, its report."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from bottleneck_features.review.folders import export_folders
from bottleneck_features.review.session import Session
from bottleneck_features.review.train_and_save import Training
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError
from classify.labelling.label_log import Entry

# The report brings its own policy, which lets nothing be fetched; here it has no part in this site.
REPORT_HEADERS = {"content-security-policy": "sandbox allow-scripts allow-popups; frame-ancestors 'none'"}

Adoptable = Callable[[], dict[str, Entry]]


class Destination(BaseModel):
    """A new folder for folders of classes."""

    folder: Annotated[str, Field(min_length=1, max_length=1000)]
    kind: Literal["copies", "links"] = "copies"


def router(session: Session, training: Training, adoptable: Adoptable) -> APIRouter:
    """The routes. adoptable: what the folders of the pictures say that the table does not."""
    routes = APIRouter()

    @routes.get("/v1/work")
    def work() -> dict[str, Any]:
        project = training.project
        return {
            "data": project.data,
            "labels": project.labels,
            "model": project.model,
            "command": project.command,
            "adoptable": len(adoptable()),
            "training": asdict(training.job),
        }

    @routes.post("/v1/adopt")
    def adopt() -> dict[str, Any]:
        entries = adoptable()
        _told(lambda: session.put_named(entries))
        return {"total": len(entries), "version": session.view.version}

    @routes.post("/v1/train")
    def train() -> dict[str, Any]:
        _told(training.start)
        return asdict(training.job)

    @routes.post("/v1/export")
    def export(destination: Destination) -> dict[str, Any]:
        labels = session.log.labels
        return asdict(
            _told(lambda: export_folders(training.project.data, labels, destination.folder, destination.kind))
        )

    @routes.get("/report/{key}")
    def report(key: str) -> Response:
        page = training.page(key)
        if page is None:
            raise Problem(404, "there is no such report")
        return Response(page, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    return routes


def _told(job: Callable[[], Any]) -> Any:
    """Errors of the job as problems: the person at the page has named the files in them."""
    try:
        return job()
    except UserError as error:
        raise Problem(409, str(error)) from None
    except OSError as error:
        raise Problem(507, f"{error.filename or 'it'} cannot be written: {error.strerror}") from None
