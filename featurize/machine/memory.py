"""How much memory is free for this process: on the machine, in its container, and within its own limits."""

from collections.abc import Iterator
from pathlib import Path

import psutil

# Where Linux has the limit of a control group, its use, and how much of that is file pages that it can drop: control
# groups of version 2, and the memory controller of version 1. https://docs.kernel.org/admin-guide/cgroup-v2.html
VERSION_2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
VERSION_1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory() -> int:
    """Bytes that can be taken now without swapping: the minimum over the machine, all control groups and limits."""
    return max(0, min([psutil.virtual_memory().available, *left_in_control_groups(), *left_of_limits()]))


def left_of_limits() -> Iterator[int]:
    """Bytes left of the limits that this process has (`ulimit -d`, `ulimit -v`); nothing where it has none."""
    if not hasattr(psutil, "RLIMIT_DATA"):  # not Linux: what counts cannot be read, or nothing does
        return
    process = psutil.Process()
    used = process.memory_info()
    for limit, count in ((psutil.RLIMIT_DATA, used.data), (psutil.RLIMIT_AS, used.vms)):
        most, _ = process.rlimit(limit)
        if most != psutil.RLIM_INFINITY:
            yield most - count


def left_in_control_groups(root: Path = Path("/")) -> Iterator[int]:
    """Bytes left in each limited control group of this process; nothing on systems without control groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, limit, used, files = VERSION_1 if controllers else VERSION_2
        group = root / mount / path.strip("/")
        while group.is_relative_to(root / mount):
            try:
                most = (group / limit).read_text().strip()
                if most != "max":
                    counts = dict(entry.split() for entry in (group / "memory.stat").read_text().splitlines())
                    yield int(most) - int((group / used).read_text()) + int(counts[files])
            except OSError:  # inside a container the outer groups cannot be seen; the root has no limit
                pass
            group = group.parent
