"""What the page asks for: the state, queues, pictures; and what a person does: labels, undo, names, training."""

import asyncio
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from bottleneck_features.review.queue_pages import Request, queue_page
from bottleneck_features.review.session import Session
from bottleneck_features.review.side import side_of
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError
from classify.labelling.label_log import STATES, Entry
from classify.labels.label_names import label_of
from featurize.decoding.decode import decode_within
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import read
from featurize.pictures.thumbnails import thumbnails_of

MOST = 100_000  # pictures of one action
FULL = 4096  # pixels of the longer side of a picture that is opened
Name = Annotated[str, Field(max_length=300)]
Number = Annotated[int, Field(ge=0)]


class Labels(BaseModel):
    """One action: the same said of several pictures. state: of `STATES`, for pictures that get no label."""

    pictures: Annotated[list[Number], Field(min_length=1, max_length=MOST)]
    label: Name = ""
    state: Name = ""
    how: Annotated[str, Field(max_length=80)] = "named"


class Renaming(BaseModel):
    """All pictures of a class get another label, or "" for none."""

    old: Name
    new: Name = ""


class Wanted(BaseModel):
    """Pictures by their numbers."""

    pictures: Annotated[list[Number], Field(max_length=500)]


def router(session: Session, cache_dir: str) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/state")
    def state() -> dict[str, Any]:
        return side_of(session)

    @routes.get("/queue")
    def queue(request: Annotated[Request, Depends()]) -> dict[str, Any]:
        return queue_page(session.view, request)

    @routes.post("/labels")
    def put(labels: Labels) -> dict[str, Any]:
        if labels.state and (labels.state not in STATES or labels.label):
            raise Problem(422, f"state {labels.state!r:.80}: give one of {', '.join(STATES)}, and no label")
        entry = Entry(label_of(labels.label), how=labels.state or labels.how)
        with _told():
            session.put(dict.fromkeys(labels.pictures, entry))
        return {"version": session.view.version}

    @routes.post("/undo")
    def undo() -> dict[str, Any]:
        with _told():
            return {"pictures": session.undo(), "version": session.view.version}

    @routes.post("/rename")
    def rename(renaming: Renaming) -> dict[str, Any]:
        with _told():
            return {"pictures": session.rename(renaming.old, label_of(renaming.new)), "version": session.view.version}

    @routes.post("/thumbnails")
    def thumbnails(wanted: Wanted) -> Response:
        """WebP one after the other, each after its length in four bytes, little end first; 0 where there is none."""
        digests = [bytes(session.view.pictures.digests[_number(session, n)]) for n in wanted.pictures]
        paths = [session.gallery.path_of(number) for number in wanted.pictures]
        found = thumbnails_of(cache_dir, digests, paths)
        body = b"".join(struct.pack("<I", len(picture)) + picture for picture in found)
        return Response(body, media_type="application/octet-stream")

    @routes.get("/picture/{number}")
    async def picture(number: int) -> Response:
        path = session.gallery.path_of(_number(session, number))
        return Response(await asyncio.to_thread(_full, path), media_type="image/webp")

    @routes.get("/picture/{number}/about")
    def about(number: int) -> dict[str, Any]:
        path = session.gallery.path_of(_number(session, number))
        size = os.path.getsize(path) if os.path.isfile(path) else None
        return {"name": session.view.pictures.names[number], "bytes": size}

    return routes


def _number(session: Session, number: int) -> int:
    if not 0 <= number < len(session.view.pictures.names):
        raise Problem(404, f"there is no picture {number}")
    return number


def _full(path: str) -> bytes:
    try:
        picture = decode_within(read(path), FULL)
    except ImageError:
        raise Problem(410, "the picture cannot be read any more") from None
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=88, method=0)
    return file.getvalue()


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the body as problems: they name a file that the person at the page has chosen."""
    try:
        yield
    except IndexError as error:
        raise Problem(404, str(error)) from None
    except UserError as error:
        raise Problem(409, str(error)) from None
    except OSError as error:
        raise Problem(507, f"the label cannot be written: {error.strerror}") from None
