"""A picture of right and wrong predictions, each with what it is and what it was taken for."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from cache.files.atomic import write_atomically

COLUMNS = 7
SHOWN = 14  # of the right ones, and of the wrong ones
SIDE = 128  # of a crop, in pixels
WIDTH, HEIGHT = 160, 176  # of a crop with its caption
TITLE = 30  # height of a line above the crops
RIGHT, WRONG = "#0a6b2c", "#a81212"


def save_gallery(path: str, crops: Sequence[str], true: Sequence[str], predicted: Sequence[str]) -> int:
    """Draw some of the crops (paths) whose label was predicted rightly, and some where not, and save them at `path`.

    They are taken from all classes in turn. Returns how many predictions are right.
    """
    pairs = list(zip(true, predicted, strict=True))
    right = [i for i, (label, guess) in enumerate(pairs) if label == guess]
    wrong = [i for i, (label, guess) in enumerate(pairs) if label != guess]
    sections = [
        (f"right: {len(right)} of {len(pairs)}", _in_turn(right, true), RIGHT),
        (f"wrong: {len(wrong)} of {len(pairs)}", _in_turn(wrong, true), WRONG),
    ]
    lines = sum(-(-len(shown) // COLUMNS) for _, shown, _ in sections)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, len(sections) * TITLE + lines * HEIGHT), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(13), 0
    for title, shown, colour in sections:
        draw.text((10, top + 6), title, fill=colour, font=ImageFont.load_default(17))
        top += TITLE
        for place, i in enumerate(shown):
            left, upper = place % COLUMNS * WIDTH + 11, top + place // COLUMNS * HEIGHT
            with Image.open(crops[i]) as crop:
                sheet.paste(crop.resize((SIDE, SIDE)), (left, upper))
            draw.text((left, upper + SIDE + 3), f"true: {true[i]}", fill="black", font=font)
            draw.text((left, upper + SIDE + 19), f"predicted: {predicted[i]}", fill=colour, font=font)
        top += -(-len(shown) // COLUMNS) * HEIGHT
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_atomically(path, data.getbuffer())
    return len(right)


def _in_turn(positions: list[int], labels: Sequence[str]) -> list[int]:
    """`SHOWN` of the positions: the first of each label, then the second of each, and so on."""
    rank: dict[str, int] = {}
    ranks = []
    for i in positions:
        rank[labels[i]] = rank.get(labels[i], -1) + 1
        ranks.append((rank[labels[i]], i))
    return [i for _, i in sorted(ranks)[:SHOWN]]
