"""Small pictures as data URIs: each is in the page once, however often it is shown."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from cache.files.path_kinds import is_url
from classify.heatmaps.heat_map import HeatMap, layer
from featurize.decoding.decode import decode_within
from featurize.machine.parallel import THREADS, in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.kept_thumbnails import keep, kept, thumbnail_of
from featurize.pictures.places.read_ahead import reading_ahead
from featurize.pictures.sources import within_limit

BUDGET = 3_400_000  # characters of data URIs: with 1,200 pictures the page stays well below 5 MB


# Longest side in pixels, and the quality of WebP.
CARD = (240, 58)  # in galleries, about as many CSS pixels wide
SMALL = (128, 45)  # beside a point of the map, in a row of neighbours


@dataclass
class Album:
    """Thumbnails by the number of their picture, and why some pictures have none.

    unplaced: those of `uris` that are not on the page yet. The page takes one out where it first shows the picture;
    where it shows it again, its script fills it in.
    """

    uris: dict[int, str]
    unreadable: dict[int, str]  # reason, one line
    unplaced: dict[int, str]


class Kept(NamedTuple):
    """Where thumbnails of objects of storage are kept, so that the next report reads none of them again.

    digests: of each picture.
    """

    cache_dir: str
    digests: Sequence[bytes]


def album_of(
    paths: Sequence[str],
    cards: Sequence[int],
    small: Sequence[int],
    budget: int = BUDGET,
    kept_in: Kept | None = None,
) -> Album:
    """Thumbnails of the pictures numbered `cards`, then of those numbered `small`, until `budget` characters are spent.

    Files that are gone or damaged by now have none, and their reason instead. kept_in: see `Kept`.
    """
    sizes = dict.fromkeys(small, SMALL) | dict.fromkeys(cards, CARD)
    order = list(dict.fromkeys([*cards, *small]))
    album = Album({}, {}, {})
    digests = {n: kept_in.digests[n] for n in order if is_url(paths[n])} if kept_in else {}
    found = kept(kept_in.cache_dir, [*digests.values()]) if kept_in and digests else {}
    new: dict[bytes, bytes] = {}

    def made(place: int) -> tuple[str, str]:
        number = order[place]
        try:
            data = read_at(place, within_limit)
            if (digest := digests.get(number)) and digest not in found:
                data = new[digest] = thumbnail_of(data)
            return _uri(decode_within(data, sizes[number][0]), sizes[number][1]), ""
        except ImageError as error:
            return "", str(error) or type(error).__name__

    with reading_ahead([found.get(digests.get(number, b""), paths[number]) for number in order]) as read_at:
        for number, (uri, reason) in zip(order, in_order(made, range(len(order)), ahead=4 * THREADS), strict=True):
            if reason:
                album.unreadable[number] = reason
                continue
            budget -= len(uri)
            if budget < 0:
                break
            album.uris[number] = album.unplaced[number] = uri
    if kept_in:
        keep(kept_in.cache_dir, new)
    return album


def overlay_of(heat: HeatMap, thumbnail: str) -> str:
    """The data URI of a map that lies over a thumbnail, given by its data URI, of a quarter of its sides."""
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.partition(",")[2]))) as picture:
        size = max(1, round(picture.width / 4)), max(1, round(picture.height / 4))
    return _uri(layer(heat, size), 60)


def _uri(picture: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getbuffer()).decode()}"
