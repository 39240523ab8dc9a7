"""Where a cluster's programs come from: what is there, else a release, else Go modules."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from host.artifacts import debian, go_modules, releases
from host.drivers.embedded import parts
from tests.host.test_embedded_configs import plan

RELEASED = {"etcd", "containerd", "kubernetes"}


@dataclass
class Machine:
    """`built` and `obtained` are there, `offered` can be downloaded; `done` is what was asked for and built."""

    cache: Path
    built: set[str] = field(default_factory=set)
    obtained: set[str] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Stand-ins for the three sources of programs."""
    there = Machine(tmp_path / "cache")
    prefix = tmp_path / "prefix"
    (prefix / "tools").mkdir(parents=True)

    def built(module, cache):
        return cache / "programs" / module.folder.name if module.folder.name in there.built else None

    def build(module, cache):
        there.done.append(f"built {module.folder.name}")
        return cache / "programs" / module.folder.name

    def obtain(name, version, cache):
        there.done.append(f"asked for {name} {version}")
        return cache / "releases" / name if name in there.offered else None

    monkeypatch.setattr(debian, "unpack", lambda packages, cache: prefix)
    monkeypatch.setattr(debian, "prefix_if_unpacked", lambda packages, cache: prefix)
    monkeypatch.setattr(go_modules, "built", built)
    monkeypatch.setattr(go_modules, "build", build)
    monkeypatch.setattr(releases, "obtained", lambda n, v, c: c / "releases" / n if n in there.obtained else None)
    monkeypatch.setattr(releases, "obtain", obtain)
    return there


def places(made):
    return {name: getattr(made, name).parent.name for name in ("pause", "etcd", "containerd", "kubernetes")}


def test_releases_are_taken_where_they_can_be_had(machine, capsys):
    machine.offered = {"kubernetes"}
    made = parts.make(plan(), machine.cache)
    assert places(made) == {"pause": "programs", "etcd": "programs", "containerd": "programs", "kubernetes": "releases"}
    p = plan()
    assert machine.done == [
        f"asked for etcd {p.etcd}", f"asked for containerd {p.containerd}", f"asked for kubernetes {p.kubernetes}",
        "built pause", "built etcd", "built containerd",
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert f"kubernetes {p.kubernetes}: its release" in said
    assert f"building from Go modules: pause v1, etcd {p.etcd}, containerd {p.containerd}; about 4 min" in said


def test_everything_is_built_where_no_release_can_be_had(machine, capsys):
    made = parts.make(plan(), machine.cache)
    assert set(places(made).values()) == {"programs"}
    assert machine.done[3:] == ["built pause", "built etcd", "built containerd", "built kubernetes"]
    assert "about 10 min on 2 cores" in capsys.readouterr().err


def test_the_pause_program_is_never_asked_for(machine):
    machine.offered = RELEASED | {"pause"}
    assert places(parts.make(plan(), machine.cache))["pause"] == "programs"


def test_what_a_machine_has_built_stays_in_use(machine):
    machine.built = RELEASED | {"pause"}
    machine.offered = machine.obtained = RELEASED
    assert set(places(parts.make(plan(), machine.cache)).values()) == {"programs"}
    assert machine.done == []


def test_nothing_is_asked_or_said_when_all_is_there(machine, capsys):
    machine.built, machine.obtained = {"pause", "etcd"}, {"containerd", "kubernetes"}
    ready = parts.available(plan(), machine.cache)
    assert places(ready) == {
        "pause": "programs", "etcd": "programs", "containerd": "releases", "kubernetes": "releases",
    }  # fmt: skip
    assert parts.make(plan(), machine.cache) == ready
    assert machine.done == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("missing", ["pause", "etcd", "containerd", "kubernetes"])
def test_the_parts_are_available_only_as_a_whole(machine, missing):
    machine.built = {"pause"} - {missing}
    machine.obtained = RELEASED - {missing}
    assert parts.available(plan(), machine.cache) is None


def test_only_what_is_missing_is_downloaded_or_built(machine):
    machine.built, machine.offered = {"pause", "etcd"}, RELEASED
    made = parts.make(plan(), machine.cache)
    assert places(made) == {"pause": "programs", "etcd": "programs", "containerd": "releases", "kubernetes": "releases"}
    assert machine.done == [f"asked for containerd {plan().containerd}", f"asked for kubernetes {plan().kubernetes}"]
