"""How much memory is free: of the machine, and of control groups in a copy of what Linux shows of them."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import featurize.machine.memory
from featurize.machine.memory import free_memory, left_in_control_groups

GROUPS = {
    2: ("0::/job/task\n", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "max"),
    1: (
        "9:cpu:/\n4:memory,hugetlb:/job/task\n", "sys/fs/cgroup/memory", "memory.limit_in_bytes",
        "memory.usage_in_bytes", "total_inactive_file", str(2**63 - 4096),
    ),
}  # fmt: skip


def write(root: Path, version: int, limits: dict[str, str]) -> None:
    """A tree with these limits of groups, each with 500 bytes in use, 200 of which are files."""
    lines, mount, limit, used, files, _ = GROUPS[version]
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for group, most in limits.items():
        folder = root / mount / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text("500\n")
        (folder / "memory.stat").write_text(f"anon 300\n{files} 200\n")


@pytest.mark.parametrize("version", GROUPS)
def test_a_limit_counts_wherever_above_the_process_it_is_set(tmp_path: Path, version: int) -> None:
    unlimited = GROUPS[version][-1]
    write(tmp_path, version, {"job": "1000", "job/task": unlimited, "other": "600"})
    assert min(left_in_control_groups(tmp_path)) == 700


@pytest.mark.parametrize("version", GROUPS)
def test_inside_a_container_the_path_of_its_group_may_not_be_there(tmp_path: Path, version: int) -> None:
    write(tmp_path, version, {"": "2000"})
    assert list(left_in_control_groups(tmp_path)) == [1700]


def test_without_control_groups_the_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(left_in_control_groups(tmp_path)) == []
    assert 0 < free_memory() <= psutil.virtual_memory().total
    monkeypatch.setattr(featurize.machine.memory, "left_in_control_groups", lambda: iter([12345]))
    assert free_memory() == 12345
    monkeypatch.setattr(featurize.machine.memory, "left_in_control_groups", lambda: iter([-5]))
    assert free_memory() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits that count memory are Linux's")
@pytest.mark.parametrize("limit", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_limit_of_the_process_counts(limit: str) -> None:
    """In a process of its own, whose limit is a little above what it has by then."""
    code = f"""
import psutil, resource
from featurize.machine.memory import free_memory
used = psutil.Process().memory_info()
used = used.data if "{limit}" == "RLIMIT_DATA" else used.vms
resource.setrlimit(resource.{limit}, (used + 10**8, used + 10**8))
print(free_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) <= 10**8
