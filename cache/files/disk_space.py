"""How much is free on a disk, and numbers of bytes as people read them."""

import os
import shutil


def free_bytes(folder: str) -> int:
    """What is free on the disk of a folder, which need not exist yet."""
    existing = os.path.abspath(folder)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    return shutil.disk_usage(existing).free


def readable(count: float) -> str:
    """A number of bytes with three digits and a unit: "5.15 KB"."""
    unit = "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}"
