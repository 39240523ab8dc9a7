"""The embedded cluster for real (issue B: B3, B4, B6)."""

import json
import os
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from host.drivers.embedded import cgroups, namespaces
from host.system import command
from tests.support.inventory import difference, inventory
from tests.support.kill_points import chosen

pytestmark = pytest.mark.e2e

NAMES = ("local-ai-lab-e2e-a", "local-ai-lab-e2e-b")
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
)


def _pod(name, image):
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "e2e", "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65535, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name, "image": image, "imagePullPolicy": "Never", "resources": {"limits": {"cpu": "100m",
                "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }  # fmt: skip


def _namespace():
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "e2e", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }


def _service(node_port):
    ports = [{"port": 80, "targetPort": 8080, "nodePort": node_port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo", "namespace": "e2e"},
        "spec": {"type": "NodePort", "selector": {"app": "echo"}, "ports": ports},
    }


def _apply(cluster, *documents):
    if documents[0]["kind"] == "Namespace":
        cluster.kubectl("apply", "-f", "-", text=json.dumps(documents[0]))
        cluster.kubectl(
            "wait", "--for=create", "-n", documents[0]["metadata"]["name"], "serviceaccount/default", "--timeout=30s"
        )
    cluster.kubectl("apply", "-f", "-", text="\n".join(json.dumps(d) for d in documents))


def _get(url):
    last = None
    for _ in range(50):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
                return answer.read().decode().strip()
        except OSError as error:
            last = error
            time.sleep(0.2)
    raise AssertionError(f"{url}: {last}")


def _uid(cluster):
    return cluster.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")


def test_a_pod_runs_and_its_service_answers_on_cluster_ip_and_node_port(clusters, echo_image):
    cluster, _ = clusters
    cluster.host("ensure")
    reference, archive = echo_image
    cluster.containerd_import(archive)
    _apply(cluster, _namespace(), _pod("pause", cluster.pause()), _pod("echo", reference), _service(30080))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    address = cluster.kubectl("get", "service", "-n", "e2e", "echo", "-o", "jsonpath={.spec.clusterIP}")
    assert _get(f"http://{address}") == "echo"
    assert _get(f"http://{cluster.plan.address}:30080") == "echo"
    refused = _pod("bad", reference)
    refused["spec"]["securityContext"] = {}
    with pytest.raises(Exception, match="violates PodSecurity"):
        _apply(cluster, refused)
    assert json.loads((cluster.layout.state.parent / "cluster.json").read_text()) == {
        "epoch": 0,
        "clusterUid": _uid(cluster),
    }
    assert cluster.layout.kubeconfig.stat().st_mode & 0o777 == 0o600
    for key in cluster.layout.pki.glob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_second_ensure_changes_nothing(clusters):
    cluster, _ = clusters
    cluster.host("ensure")
    assert cluster.host("ensure")["changed"] == []


@pytest.mark.slow
def test_every_listener_is_inside_the_namespace_and_bound_to_the_node_or_loopback(clusters):
    cluster, _ = clusters
    cluster.host("ensure")
    inside = command.run(
        ["nsenter", f"--net={cluster.layout.network_namespace}", "ss", "-Hlntu"], timeout=20
    ).stdout.splitlines()
    addresses = {line.split()[4].rpartition(":")[0] for line in inside}
    assert addresses == {"127.0.0.1", cluster.plan.address}
    outside = command.run(["ss", "-Hlntp"], timeout=20).stdout
    assert not any(name in outside for name in PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_program_is_started_again_and_the_pods_stay(clusters, program):
    cluster, _ = clusters
    cluster.host("ensure")
    _apply(cluster, _namespace(), _pod("pause", cluster.pause()))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    uid = _uid(cluster)
    os.kill(cluster.pid(program), signal.SIGKILL)
    assert f"started {program}" in cluster.host("ensure")["changed"]
    assert _uid(cluster) == uid
    assert cluster.host("status")["state"] == "running"
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    assert (
        cluster.kubectl(
            "get", "pod", "-n", "e2e", "pause", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"
        )
        == "0"
    )


@pytest.mark.slow
def test_the_whole_cluster_killed_comes_back_with_its_data(clusters):
    cluster, _ = clusters
    cluster.host("ensure")
    _apply(cluster, _namespace(), _pod("pause", cluster.pause()))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    uid = _uid(cluster)
    assert not cgroups.kill(cluster.layout, seconds=15)
    cluster.host("ensure", epoch=1)
    assert _uid(cluster) == uid
    cluster.kubectl(
        "wait",
        "-n",
        "e2e",
        "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        "pod",
        "pause",
        "--timeout=90s",
    )
    assert json.loads((cluster.layout.state.parent / "cluster.json").read_text())["epoch"] == 1


def test_after_a_reboot_the_cluster_comes_back_with_its_data(clusters):
    cluster, _ = clusters
    cluster.host("ensure")
    uid = _uid(cluster)
    # What a reboot takes away: processes, namespaces, links, cgroups, /run.
    assert not cgroups.kill(cluster.layout, seconds=15)
    namespaces.disconnect(cluster.layout)
    namespaces.unpin(cluster.layout)
    assert not cgroups.remove(cluster.layout)
    shutil.rmtree(cluster.layout.run)
    cluster.host("ensure")
    assert _uid(cluster) == uid
    assert cluster.host("status")["state"] == "running"


def test_a_half_dead_cluster_is_removed(clusters):
    cluster, _ = clusters
    before = inventory(*NAMES)
    cluster.host("ensure")
    _apply(cluster, _namespace(), _pod("pause", cluster.pause()))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    for program in ("containerd", "etcd"):
        os.kill(cluster.pid(program), signal.SIGKILL)
    shutil.rmtree(cluster.layout.pki)
    shutil.rmtree(cluster.layout.run / "programs")
    cluster.host("destroy")
    assert difference(before, inventory(*NAMES)) == {}
    cluster.host("ensure")  # what containerd still remembers of the dead does no harm
    assert cluster.kubectl("get", "pods", "-A", "-o", "name") == ""


@pytest.mark.slow
def test_a_changed_configuration_file_is_put_right_and_its_program_restarted(clusters):
    cluster, _ = clusters
    cluster.host("ensure")
    (cluster.layout.config / "kubelet.json").write_text("{}")
    assert cluster.host("ensure")["changed"] == ["rewrote kubelet.json", "restarted kubelet"]


def test_two_clusters_stand_side_by_side_and_one_is_destroyed_without_harm_to_the_other(clusters):
    first, second = clusters
    before = inventory(*NAMES)
    first.host("ensure")
    second.host("ensure")
    for cluster in clusters:
        _apply(cluster, _namespace(), _pod("pause", cluster.pause()))
        cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    pids = {name: p["pid"] for name, p in second.host("status")["programs"].items()}
    first.host("destroy")
    assert second.host("ensure")["changed"] == []
    assert {name: p["pid"] for name, p in second.host("status")["programs"].items()} == pids
    time.sleep(3)
    assert (
        second.kubectl("get", "pod", "-n", "e2e", "pause", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
        == "0"
    )
    second.host("destroy")
    assert difference(before, inventory(*NAMES)) == {}


def test_a_run_killed_anywhere_is_finished_by_the_next_and_leaves_nothing_behind(clusters):
    cluster, _ = clusters
    before = inventory(*NAMES)
    cluster.host("ensure", kill_at=0)
    points = int(cluster.said.rsplit("points: ", 1)[1])
    cluster.host("destroy")
    for point in chosen(points, 3):
        print(f"killed at {point} of {points}", flush=True)
        cluster.host("ensure", kill_at=point)
        cluster.host("ensure")
        assert cluster.host("ensure")["changed"] == [], f"killed at {point} of {points}"
        count = len([p for p in Path("/proc").glob("[0-9]*/cgroup") if _in_cgroup(p, cluster.plan.name)])
        assert count == len(PROGRAMS), f"killed at {point} of {points}: {count} processes"
        cluster.host("destroy")
        assert difference(before, inventory(*NAMES)) == {}, f"killed at {point} of {points}"


def test_a_removal_killed_anywhere_is_finished_by_the_next(clusters):
    cluster, _ = clusters
    before = inventory(*NAMES)
    cluster.host("ensure")
    cluster.host("destroy", kill_at=0)
    points = int(cluster.said.rsplit("points: ", 1)[1])
    for point in chosen(points, 2):
        print(f"removal killed at {point} of {points}", flush=True)
        cluster.host("ensure")
        cluster.host("destroy", kill_at=point)
        cluster.host("destroy")
        assert difference(before, inventory(*NAMES)) == {}, f"killed at {point} of {points}"


def _in_cgroup(path, name):
    try:
        return f"/{name}/" in path.read_text()
    except OSError:
        return False
