"""Empty folders that a cluster makes on the machine to mount over, and takes away again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from host.drivers.embedded import namespaces
from host.drivers.embedded.layout import Layout
from tests.host.test_embedded_configs import plan


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A cluster whose namespaces hide folders below a temporary one; nothing else stands."""
    monkeypatch.setattr(Layout, "run", property(lambda self: tmp_path / "run" / self.stack))
    return Layout("dev", plan())


def _make(layout: Layout, *wanted: Path) -> None:
    with namespaces._mount_points_alone(layout):
        namespaces._make_mount_points(layout, list(wanted))


def test_what_was_made_goes_and_what_was_there_stays(layout: Layout, tmp_path: Path) -> None:
    there, made = tmp_path / "var" / "lib", tmp_path / "var" / "lib" / "cni" / "cache"
    there.mkdir(parents=True)
    _make(layout, there, made)
    assert made.is_dir()
    namespaces.release_mount_points(layout)
    assert there.is_dir() and list(there.iterdir()) == []


def test_what_somebody_else_uses_by_now_stays(layout: Layout, tmp_path: Path) -> None:
    made = tmp_path / "etc" / "cni"
    _make(layout, made)
    (made / "theirs.conf").touch()
    namespaces.release_mount_points(layout)
    assert (made / "theirs.conf").exists()


def test_nothing_goes_while_another_cluster_is_pinned(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, pin = tmp_path / "etc" / "cni", tmp_path / "run" / "other" / "ns" / "mnt"
    _make(layout, made)
    pin.parent.mkdir(parents=True)
    pin.touch()
    monkeypatch.setattr(namespaces, "_is_pinned", lambda path: path == pin)
    namespaces.release_mount_points(layout)
    assert made.is_dir()


def test_nothing_goes_between_another_clusters_making_and_its_pin(layout: Layout, tmp_path: Path) -> None:
    made = tmp_path / "etc" / "cni"
    with namespaces._mount_points_alone(layout):
        namespaces._make_mount_points(layout, [made])
        release = threading.Thread(target=namespaces.release_mount_points, args=(layout,))
        release.start()
        release.join(0.3)
        assert release.is_alive() and made.is_dir()
    release.join(5)
    assert not made.exists()
