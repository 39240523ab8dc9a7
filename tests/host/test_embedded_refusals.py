"""What is refused before anything is touched, and what is known as ours."""

import json
from collections import namedtuple
from pathlib import Path

import pytest

from host import __main__ as host
from host.artifacts import debian
from host.drivers.embedded import cgroups, driver, images, layout, namespaces, ownership, preflight
from host.system import state
from stacks.errors import HostError
from stacks.plan import canonical
from tests.host.test_embedded_configs import layout as make_layout
from tests.host.test_embedded_configs import plan

_Usage = namedtuple("_Usage", "total used free")


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setattr(layout, "RUN", tmp_path / "run")
    return make_layout()


def test_everything_that_is_missing_is_named_at_once(place, monkeypatch):
    monkeypatch.setattr(preflight.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(preflight.cgroups, "missing_controllers", lambda: ["memory", "pids"])
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: _Usage(0, 0, 3 * 2**30))
    monkeypatch.setattr(preflight.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(preflight.os, "sysconf", lambda name: 4096 if "SIZE" in name else 2**19)
    with pytest.raises(HostError) as refused:
        preflight.check(place, warm=False)
    text = str(refused.value)
    for word in (
        "riscv64",
        "memory, pids",
        "3.0 GiB are free",
        "12.5 GiB are needed: 9.0 for the programs, built from source, 1.5 for weights, 2.0 for the running cluster",
        "2.0 GiB of RAM",
        "nsenter",
        "apt-get",
        "driver: docker",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("warm", "image", "before", "needed"),
    [
        (False, 5.5, False, 18.0),
        (True, 5.5, False, 9.0),
        (False, 0, False, 12.5),
        (True, 0.4, False, 3.9),
        (True, 0, True, 2.0),
    ],
)
def test_what_is_there_already_needs_no_disk(place, monkeypatch, warm, image, before, needed):
    wanted = layout.Layout("dev", plan(images=("lab.local/vllm-cpu:1",)))
    monkeypatch.setattr(preflight, "still_needed_gib", lambda _reference: image)
    if before:
        (wanted.state / "etcd/member").mkdir(parents=True)

    def said(free):
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: _Usage(0, 0, free * 2**30))
        return [problem for problem in preflight._space(wanted, warm=warm) if "are free" in problem]

    assert f"{needed:.1f} GiB are needed" in said(needed - 0.1)[0]
    assert said(needed + 0.1) == []


@pytest.mark.parametrize(
    ("destination", "device", "conflict"),
    [
        ("10.231.0.0/24", "eth0", True), ("10.232.0.0/16", "vpn0", True), ("10.233.0.7", "eth0", True), ("10.0.0.0/8",
        "vpn0", True),
        ("10.232.0.0/24", "lab-emb0", False), ("10.232.1.0/24", "lab-emb1", False), ("default", "eth0", False),
        ("192.0.2.0/24", "eth0", False),
    ],
)  # fmt: skip
def test_networks_that_overlap_are_conflicts_but_not_our_own(place, destination, device, conflict):
    assert bool(list(preflight.conflicts(place, [{"dst": destination, "dev": device}]))) == conflict


def test_a_slot_that_another_cluster_has_is_a_conflict(place, monkeypatch):
    monkeypatch.setattr(namespaces, "link_owner", lambda _: "local-ai-lab local-ai-lab-other")
    (problem,) = preflight.conflicts(place, [])
    assert "local-ai-lab-other" in problem


def test_a_slot_outside_the_range_is_refused(place, monkeypatch):
    assert "slot 64" in next(iter(preflight._addresses(layout.Layout("dev", plan(slot=64, address="10.231.1.2")))))


def test_a_folder_without_our_mark_is_foreign(place):
    place.state.mkdir(parents=True)
    (place.state / "something").write_text("")
    with pytest.raises(HostError, match="was not made by us"):
        ownership.require(place)


def test_a_half_written_mark_of_a_killed_run_is_not_foreign(place):
    place.state.mkdir(parents=True)
    (place.state / ".owner.json.123").write_text("{")
    assert ownership.require(place) is True


def test_our_own_mark_is_known_again_and_another_slot_is_refused(place):
    ownership.mark(place)
    assert ownership.require(place) is True
    with pytest.raises(HostError, match="destroy it first"):
        ownership.require(make_layout(slot=3))


def test_a_kubeconfig_that_is_not_of_our_cluster_is_foreign(place):
    place.kubeconfig.parent.mkdir(parents=True)
    place.kubeconfig.write_text("somebody's")
    with pytest.raises(HostError, match="is not of our cluster"):
        ownership.require(place)
    assert place.kubeconfig.read_text() == "somebody's"


def test_nothing_there_is_nothing_of_ours(place):
    assert ownership.require(place) is False


def test_destroy_refuses_a_foreign_cluster(place, monkeypatch, capsys):
    monkeypatch.setattr(driver.os, "geteuid", lambda: 0)
    place.state.mkdir(parents=True)
    (place.state / "theirs").write_text("")
    monkeypatch.setenv("LAB_STACK", "dev")
    monkeypatch.setenv("LAB_SPEC", canonical(place.plan))
    assert host.main(["embedded", "destroy"]) == 1
    assert "refusing to touch what is not ours" in capsys.readouterr().err
    assert (place.state / "theirs").exists()


@pytest.mark.parametrize(
    "environment",
    [{}, {"LAB_STACK": "dev"}, {"LAB_STACK": "dev", "LAB_SPEC": "{}"}, {"LAB_STACK": "dev", "LAB_SPEC": "no"}],
)
def test_a_missing_or_wrong_specification_is_an_error_and_not_a_traceback(environment, monkeypatch, capsys):
    for name in ("LAB_STACK", "LAB_SPEC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert host.main(["embedded", "status"]) == 1
    assert "LAB_S" in capsys.readouterr().err


def test_epoch_and_uid_are_recorded_and_a_destroyed_cluster_counts_up():
    assert state.epoch("dev") == 0
    state.record("dev", 2, "some-uid")
    assert state.epoch("dev") == 2
    assert json.loads((state.folder("dev") / "cluster.json").read_text()) == {"epoch": 2, "clusterUid": "some-uid"}


def test_hierarchies_of_a_hybrid_and_of_a_unified_machine():
    hybrid = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ntmpfs /tmp "
        "tmpfs rw 0 0\n"
    )
    assert cgroups.hierarchies(hybrid) == [(Path("/sys/fs/cgroup/cpu"), "rw,cpu"), (Path("/sys/fs/cgroup/unified"), "")]
    assert cgroups.hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == [(Path("/sys/fs/cgroup"), "")]


def test_apt_upgrades_and_the_c_library_are_left_out():
    text = (
        "Inst libc6 [2.36-9] (2.36-10 Debian:12 [amd64])\nInst zlib1g [1] (2 Debian:12 [amd64])\nInst runc "
        "(1.1.5+ds1-1+b1 Debian:12 [amd64])\nConf runc (1.1.5 x)\n"
    )
    assert debian.parse_simulation(text, ["runc"]) == {"runc": "1.1.5+ds1-1+b1"}


def test_the_pause_image_is_equal_for_an_equal_program(tmp_path):
    for name in ("a", "b"):
        images.write_pause(tmp_path / name, b"program", "lab.local/pause:1")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_fixed_paths_of_two_clusters_lead_to_different_folders():
    first, second = namespaces.hidden_paths(make_layout()), namespaces.hidden_paths(make_layout("two", 1))
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_the_cluster_gets_every_controller_of_the_machine_that_the_kubelet_looks_for(place, monkeypatch, tmp_path):
    cluster = tmp_path / place.plan.name
    cluster.mkdir()
    for folder in (tmp_path, cluster):
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma misc\n")  # Debian 12
    given = {}
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [(tmp_path, "")])
    monkeypatch.setattr(Path, "write_text", lambda path, text: given.setdefault(path, set()).add(text))
    cgroups.make(place)
    looked_for = {"+cpu", "+cpuset", "+memory", "+hugetlb", "+pids"}  # kubelet 1.36, pkg/kubelet/cm
    assert looked_for <= given[tmp_path / "cgroup.subtree_control"]
    assert looked_for <= given[cluster / "cgroup.subtree_control"]
