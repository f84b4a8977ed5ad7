"""What the page asks for: the state, queues, pictures; and what a person does: labels, undo, names, training."""

import asyncio
import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from bottleneck_features.review.picture_facts import about_file
from bottleneck_features.review.queue_pages import MOST as SHOWN
from bottleneck_features.review.queue_pages import PATIENCE, Request, queue_page, said
from bottleneck_features.review.session import Session
from bottleneck_features.review.side import side_of
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError
from classify.labelling.label_log import STATES, Entry
from classify.labels.label_names import label_of
from featurize.decoding.decode import decode_within
from featurize.pictures.find_images import ImageError
from featurize.pictures.kept_thumbnails import thumbnails_of
from featurize.pictures.sources import read

MOST = 100_000  # pictures of one action
FULL = 4096  # pixels of the longer side of a picture that is opened
Name = Annotated[str, Field(max_length=120)]
Number = Annotated[int, Field(ge=0)]


class Said(BaseModel):
    """The same of several pictures. state: of `STATES`, for pictures that get no label."""

    pictures: Annotated[list[Number], Field(min_length=1, max_length=MOST)]
    label: Name = ""
    state: Name = ""


class Labels(BaseModel):
    """One action. how: what led to it, in few words."""

    said: Annotated[list[Said], Field(min_length=1, max_length=SHOWN)]
    how: Annotated[str, Field(max_length=80)] = "named"


class Naming(BaseModel):
    """A class."""

    name: Name


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
        return queue_page(session.wait_until_named(request.after, PATIENCE), request)

    @routes.post("/labels")
    def put(labels: Labels) -> dict[str, Any]:
        entries: dict[int, Entry] = {}
        for part in labels.said:
            if part.state and (part.state not in STATES or part.label):
                raise Problem(422, f"state {part.state!r:.80}: give one of {', '.join(STATES)}, and no label")
            label = _class(session, part.label) if part.label else ""
            entries |= dict.fromkeys(part.pictures, Entry(label, how=part.state or labels.how))
        with _told():
            session.put(entries)
        return _changed(session, [*entries])

    @routes.post("/pictures")
    def pictures(wanted: Wanted) -> dict[str, Any]:
        view = session.view
        return {"version": view.version, "pictures": [said(view, _number(session, n)) for n in wanted.pictures]}

    @routes.post("/undo")
    def undo() -> dict[str, Any]:
        with _told():
            return _changed(session, session.undo())

    @routes.post("/classes")
    def add_class(naming: Naming) -> dict[str, Any]:
        name = _class(session, naming.name)
        session.add_class(name)
        return {"name": name, "version": session.view.version}

    @routes.post("/rename")
    def rename(renaming: Renaming) -> dict[str, Any]:
        new = _class(session, renaming.new, renaming.old) if renaming.new else ""
        with _told():
            return {"total": session.rename(renaming.old, new), "version": session.view.version}

    @routes.post("/thumbnails")
    def thumbnails(wanted: Wanted) -> Response:
        """WebP one after the other, each after its length in four bytes, little end first; 0 where there is none."""
        digests = [bytes(session.view.pictures.digests[_number(session, number)]) for number in wanted.pictures]
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
        return {"name": session.view.pictures.names[number], **about_file(path)}

    return routes


def _class(session: Session, name: str, old: str = "") -> str:
    """The name of a class, which may be new and replace `old`. Raises Problem for one that is mistaken for another."""
    if not (label := label_of(name)):
        raise Problem(422, "the name of a class is empty")
    names = [one for one in session.view.classes if one != old]
    if label in names:  # also one of a table that came with it
        return label
    if label.casefold() in STATES:
        raise Problem(422, f"{label!r} is no class: it has a key of its own, below the classes")
    if same := [one for one in names if one.casefold() == label.casefold()]:
        raise Problem(409, f"there is a class {same[0]!r} already: {label!r} would be taken for it")
    return label


def _changed(session: Session, numbers: Sequence[int]) -> dict[str, Any]:
    """What is known now of pictures that were changed, of very many of the first ones."""
    view = session.view
    shown = [said(view, number) for number in numbers[:SHOWN]]
    return {"version": view.version, "total": len(numbers), "pictures": shown}


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
