"""What is the machine's owner's in K3s' places stays: registries, what links lead to, a disk that is mounted there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from host.drivers.k3s import driver
from stacks.errors import HostError
from tests.host.test_k3s_states import BINARY, CONFIG, Saved, environment, said, saved, world
from tests.support.k3s_world import World

__all__ = ["saved", "world"]  # the fixtures
REGISTRIES, DATA = "/etc/rancher/k3s/registries.yaml", "/var/lib/rancher/k3s"
MIRRORS = "mirrors: {docker.io: {endpoint: ['https://mirror.example']}}\n"


def destroy() -> None:
    driver.destroy({**environment(), "LAB_BY_STACK": "1"})


def test_the_owners_registries_are_no_other_k3s_are_read_again_when_they_change_and_stay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(REGISTRIES, MIRRORS, 0o600)
    driver.ensure(environment())
    driver.ensure(environment())
    assert said(capsys)["changed"] == []
    os.utime(world.at(REGISTRIES), (1, 1))  # written anew
    driver.ensure(environment())
    assert "restarted k3s" in said(capsys)["changed"]
    destroy()
    assert str(world.at(REGISTRIES)) in said(capsys)["kept"]
    assert [path.name for path in world.at(CONFIG).parent.iterdir()] == ["registries.yaml"]
    assert (world.at(REGISTRIES).read_text(), world.at(REGISTRIES).stat().st_mode & 0o777) == (MIRRORS, 0o600)
    driver.ensure(environment())  # what is left is no other K3s


def test_of_a_link_the_link_alone_goes(world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    world.restore(saved.whole)
    world.write("/srv/precious/weights", "weights")
    inside = world.at("/var/lib/kubelet/precious")
    inside.symlink_to(world.at("/srv/precious"))
    world.at(DATA).rename(world.at("/srv/k3s"))  # moved to another disk
    world.at(DATA).symlink_to(world.at("/srv/k3s"))
    mounts = world.at("/proc/self/mounts")
    mounts.write_text(mounts.read_text() + "/dev/sda1 /srv/k3s/agent/volume ext4 rw 0 0\n")
    world.write("/srv/k3s/agent/volume/weights.safetensors", "weights")
    destroy()
    assert str(world.at("/srv/k3s")) in said(capsys)["kept"]
    assert not os.path.lexists(world.at(DATA))
    assert world.at("/srv/k3s/server/cluster.json").exists()
    assert world.at("/srv/precious/weights").read_text() == "weights"
    assert "/srv/k3s" not in mounts.read_text()
    assert not world.at(BINARY).exists()


def test_a_link_that_leads_nowhere_is_somebodys(world: World) -> None:
    world.at(DATA).parent.mkdir(parents=True)
    world.at(DATA).symlink_to("/srv/nothing")
    with pytest.raises(HostError, match="did not install"):
        driver.ensure(environment())
    assert world.at(DATA).is_symlink()


def test_a_disk_that_is_mounted_for_k3s_is_emptied_and_stays_mounted(
    world: World, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.at(f"{DATA}/lost+found").mkdir(parents=True)
    driver.ensure(environment())  # an empty disk is no other K3s
    world.at(f"{DATA}/lost+found").rmdir()
    mounts = world.at("/proc/self/mounts")
    mounts.write_text(f"/dev/sdc1 {DATA} ext4 rw 0 0\n" + mounts.read_text())
    rmdir = Path.rmdir

    def busy(path: Path) -> None:
        if path == world.at(DATA):
            raise OSError(errno.EBUSY, "Device or resource busy")
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", busy)
    destroy()
    assert not any(world.at(DATA).iterdir())
    assert f" {DATA} " in mounts.read_text()
    driver.ensure(environment())
