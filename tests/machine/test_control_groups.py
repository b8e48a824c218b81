"""Control groups as kernels, systemd and containers show them, in trees of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma4cli.machine.control_groups import memory_limits

V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
NAMES = {
    V1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    V2: ("memory.max", "memory.current", "inactive_file"),
}
UNLIMITED = 9223372036854771712
"""How version 1 writes that there is no limit."""
MOUNT_V1 = "32 25 0:28 {top} /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n"
MOUNT_V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(root: Path, base: str, name: str, limit: object, used: int, cached: int = 0) -> None:
    """Write what one group says of its memory."""
    limit_file, used_file, inactive = NAMES[base]
    folder = f"{base}/{name}"
    put(root, f"{folder}/{limit_file}", f"{limit}\n")
    put(root, f"{folder}/{used_file}", f"{used}\n")
    put(root, f"{folder}/memory.stat", f"rss 1\n{inactive} {cached}\n")


def process(root: Path, groups: str, mounts: str = "") -> None:
    put(root, "proc/self/cgroup", groups)
    put(root, "proc/self/mountinfo", f"22 27 0:21 / /proc rw - proc proc rw\n{mounts}")


@pytest.mark.parametrize("base", [V1, V2])
def test_a_container_reports_its_limit_and_its_usage_without_file_cache(
    tmp_path: Path, base: str
) -> None:
    group(tmp_path, base, "", 5000, 1500, cached=100)
    assert memory_limits(tmp_path) == [(5000, 1400)]


def test_a_group_without_a_limit_does_not_limit(tmp_path: Path) -> None:
    group(tmp_path, V2, "", "max", 1500)
    assert memory_limits(tmp_path) == []


def test_each_group_on_the_way_up_counts_with_its_own_usage(tmp_path: Path) -> None:
    process(tmp_path, "0::/user.slice/user-1.slice/run-7.scope\n", MOUNT_V2.format(top="/"))
    group(tmp_path, V2, "user.slice/user-1.slice/run-7.scope", "max", 10)
    group(tmp_path, V2, "user.slice/user-1.slice", 4000, 3000, cached=500)
    group(tmp_path, V2, "user.slice", 9000, 8900)
    group(tmp_path, V2, "user.slice/user-2.slice", 1, 1)
    assert memory_limits(tmp_path) == [(4000, 2500), (9000, 8900)]


def test_version_1_has_a_group_of_its_own_for_memory(tmp_path: Path) -> None:
    groups = "9:name=systemd:/init\n4:cpu,memory:/batch/job:7\n3:cpuset:/\n0::/init\n"
    process(tmp_path, groups, MOUNT_V2.format(top="/") + MOUNT_V1.format(top="/"))
    group(tmp_path, V1, "batch/job:7", 700, 70)
    group(tmp_path, V1, "batch", UNLIMITED, 80)
    group(tmp_path, V1, "init", 1, 1)
    group(tmp_path, V1, "", 6000, 90)
    assert memory_limits(tmp_path) == [(700, 70), (UNLIMITED, 80), (6000, 90)]


@pytest.mark.parametrize(("base", "line"), [(V1, "4:memory:{}\n"), (V2, "0::{}\n")])
@pytest.mark.parametrize("inner", ["", "/child"])
def test_a_container_may_be_shown_the_hierarchy_from_its_own_group_on(
    tmp_path: Path, base: str, line: str, inner: str
) -> None:
    mount = {V1: MOUNT_V1, V2: MOUNT_V2}[base]
    process(tmp_path, line.format(f"/docker/7{inner}"), mount.format(top="/docker/7"))
    group(tmp_path, base, "child", 300, 30)
    group(tmp_path, base, "", 900, 90)
    assert memory_limits(tmp_path) == [(300, 30), (900, 90)][not inner :]


@pytest.mark.parametrize("name", ["/", "/../elsewhere", "/docker/8"])
def test_a_group_that_is_not_shown_is_limited_by_what_is(tmp_path: Path, name: str) -> None:
    process(tmp_path, f"0::{name}\n", MOUNT_V2.format(top="/docker/7"))
    group(tmp_path, V2, "", 900, 90)
    group(tmp_path, V2, "../elsewhere", 1, 1)
    assert memory_limits(tmp_path) == [(900, 90)]


def test_a_hierarchy_may_be_mounted_anywhere(tmp_path: Path) -> None:
    mount = MOUNT_V2.format(top="/").replace("/sys/fs/cgroup", r"/my\040groups")
    process(tmp_path, "0::/a\n", mount)
    put(tmp_path, "my groups/a/memory.max", "400")
    put(tmp_path, "my groups/a/memory.current", "40")
    assert memory_limits(tmp_path) == [(400, 40)]


def test_a_system_without_control_groups_has_no_such_limits(tmp_path: Path) -> None:
    assert memory_limits(tmp_path) == []
    process(tmp_path, "")
    assert memory_limits(tmp_path) == []
