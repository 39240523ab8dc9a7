"""NetworkPolicies on the embedded cluster: real pods, real packets."""

import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.drivers.embedded import parts, policies, proof
from host.system import command
from stacks.catalog import load
from stacks.errors import HostError
from tests.e2e.conftest import Cluster, policies_version
from tests.e2e.test_cluster import _apply, _namespace, _pod, _service
from tests.support.inventory import difference, inventory
from tests.support.kill_points import chosen

pytestmark = pytest.mark.e2e

NAME = "local-ai-lab-e2e-p"
PROGRAM = "kube-network-policies"
SERVED, NODE_PORT = 8080, 30081


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that is not there yet and shall enforce policies; whatever the test leaves is removed."""
    made = Cluster("e2e-p", 60, network_policies=str(load().fact("embedded.networkPolicies").value))
    if not policies_version() and os.environ.get("LAB_SLOW") != "1":
        pytest.skip(f"{PROGRAM} is not built yet, which takes minutes: LAB_SLOW=1 builds it")
    yield made
    made.host("destroy")
    (made.layout.state.parent / "cluster.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        made.layout.state.parent.rmdir()


def _labelled(pod, **labels):
    pod["metadata"]["labels"] |= labels
    return pod


def _policy(name, selector, kinds, **rules):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "e2e"},
        "spec": {"podSelector": selector, "policyTypes": kinds, **rules},
    }


def _of(cluster, pod, path):
    return cluster.kubectl("get", "pod", "-n", "e2e", pod, "-o", f"jsonpath={{{path}}}")


def _soon(cluster, wanted, *call):
    """Whether a connection succeeds as `wanted` within the seconds that a change of policies may take."""
    deadline = time.monotonic() + 10
    while (found := cluster.reaches(*call)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found == wanted


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return answer.status == 200
    except OSError:
        return False


def _tables(cluster):
    """The rules of the machine itself, without their counters."""
    built = parts.available(cluster.plan, cluster.layout.cache)
    found = []
    for name in ("iptables-save", "ip6tables-save"):
        said = command.run([built.find(name)], timeout=20, environment=built.environment()).stdout
        found.append([line for line in said.splitlines() if line.startswith("-A")])
    return found


def test_a_policy_refuses_and_allows_real_pods_and_a_dead_program_lets_nobody_in(cluster, echo_image):
    before, tables = inventory(NAME), _tables(cluster)
    cluster.host("ensure")
    reference, archive = echo_image
    cluster.containerd_import(archive)
    friend, other = _labelled(_pod("friend", cluster.pause()), role="friend"), _pod("other", cluster.pause())
    _apply(cluster, _namespace(), _pod("echo", reference), friend, other, _service(NODE_PORT))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    echo = _of(cluster, "echo", ".status.podIP")
    service = cluster.kubectl("get", "service", "-n", "e2e", "echo", "-o", "jsonpath={.spec.clusterIP}")
    node_port = f"http://{cluster.plan.address}:{NODE_PORT}"

    # no policy: everybody is let in
    for who in ("friend", "other", "node"):
        assert _soon(cluster, True, who, echo, SERVED), who
    end = time.monotonic() + 30
    while not _answers(node_port):  # kube-proxy writes a new Service's rules some time after it is there
        assert time.monotonic() < end

    # denied by default, then allowed for one
    _apply(cluster, _policy("deny", {}, ["Ingress"]))
    assert _soon(cluster, False, "friend", echo, SERVED)
    assert not cluster.reaches("other", echo, SERVED)
    assert not _answers(node_port)
    assert cluster.reaches("node", echo, SERVED)  # as the kubelet's probes
    allowed = {
        "from": [{"podSelector": {"matchLabels": {"role": "friend"}}}],
        "ports": [{"port": SERVED, "protocol": "TCP"}],
    }
    _apply(cluster, _policy("allow", {"matchLabels": {"app": "echo"}}, ["Ingress"], ingress=[allowed]))
    assert _soon(cluster, True, "friend", echo, SERVED)
    assert cluster.reaches("friend", service, 80)
    assert not cluster.reaches("other", echo, SERVED)
    assert not cluster.reaches("other", service, 80)

    # the node's own addresses, which the pod's packets reach without being forwarded
    assert cluster.reaches("other", cluster.plan.address, 6443)
    _apply(cluster, _policy("mute", {"matchLabels": {"app": "other"}}, ["Egress"]))
    assert _soon(cluster, False, "other", cluster.plan.address, 6443)
    assert cluster.reaches("friend", cluster.plan.address, 6443)

    # killed: new connections are dropped, the node's are not, and status says so
    os.kill(cluster.pid(PROGRAM), signal.SIGKILL)
    assert not cluster.reaches("friend", echo, SERVED)
    assert cluster.reaches("node", echo, SERVED)
    status = cluster.host("status")
    assert (status["state"], list(status["problems"])) == ("degraded", [PROGRAM])
    assert "dropped" in status["problems"][PROGRAM]
    assert cluster.host("ensure")["changed"] == [f"started {PROGRAM}"]
    assert cluster.host("status")["state"] == "running"
    assert _soon(cluster, True, "friend", echo, SERVED)
    assert not cluster.reaches("other", echo, SERVED)

    # taken away: everybody is let in again
    cluster.kubectl("delete", "networkpolicy", "-n", "e2e", "--all")
    assert _soon(cluster, True, "other", echo, SERVED)
    assert _answers(node_port)

    cluster.host("destroy")
    assert difference(before, inventory(NAME)) == {}
    assert _tables(cluster) == tables


@pytest.mark.slow
def test_a_second_ensure_changes_nothing_and_the_setting_can_be_taken_back(cluster):
    wanted = cluster.plan.network_policies
    cluster.host("ensure")
    assert cluster.host("ensure")["changed"] == []
    assert cluster.kubectl("get", "pods", "-A", "-o", "name") == ""
    os.kill(cluster.pid("containerd"), signal.SIGKILL)
    assert cluster.host("ensure")["changed"] == ["started containerd", f"restarted {PROGRAM}"]
    cluster.change(network_policies=None)
    changed = ["rewrote containerd.toml", "restarted containerd", "removed the rules of NetworkPolicies"]
    assert cluster.host("ensure")["changed"] == changed
    assert cluster.host("ensure")["changed"] == []
    assert PROGRAM not in cluster.host("status")["programs"]
    cluster.change(network_policies=wanted)
    cluster.host("ensure")
    assert cluster.host("ensure")["changed"] == []


def test_the_proof_fails_where_the_rules_are_gone_and_status_says_so(cluster, monkeypatch):
    cluster.host("ensure")
    built = parts.available(cluster.plan, cluster.layout.cache)
    policies.remove(cluster.layout, built)
    status = cluster.host("status")
    assert (status["state"], list(status["problems"])) == ("degraded", ["network policies"])
    monkeypatch.setattr(proof, "_WAIT_SECONDS", 3.0)
    with pytest.raises(HostError, match="do not hold: a connection that one forbids was let through"):
        proof.show(cluster.layout, built)
    assert cluster.host("ensure")["changed"] == ["wrote the rules of NetworkPolicies"]


@pytest.mark.slow
def test_pods_do_not_meet_on_link_local_ipv6_addresses_that_no_policy_names(cluster, echo_image):
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    cluster.host("ensure")
    reference, archive = echo_image
    cluster.containerd_import(archive)
    _apply(cluster, _namespace(), _pod("echo", reference), _pod("other", cluster.pause()))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    shown = cluster.inside("echo", "ip", "-json", "address", "show", "dev", "eth0")
    addresses = json.loads(shown)[0]["addr_info"]
    local = next(each["local"] for each in addresses if each["family"] == "inet6")
    assert not cluster.reaches("other", f"{local}%eth0", SERVED)
    built = parts.available(cluster.plan, cluster.layout.cache)
    policies.remove(cluster.layout, built)
    assert _soon(cluster, True, "other", f"{local}%eth0", SERVED)  # it was our rule that refused it


@pytest.mark.slow
def test_a_pod_is_refused_from_its_first_packet_on(cluster, echo_image):
    cluster.host("ensure")
    reference, archive = echo_image
    cluster.containerd_import(archive)
    _apply(
        cluster, _namespace(), _pod("echo", reference), _policy("mute", {"matchLabels": {"mute": "yes"}}, ["Egress"])
    )
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    names = [f"early-{number}" for number in range(8)]
    pods = [_labelled(_pod(name, reference), mute="yes") for name in names]
    loud = _pod("loud", reference)
    for pod in (*pods, loud):
        pod["spec"]["containers"][0]["args"] = [f"{_of(cluster, 'echo', '.status.podIP')}:{SERVED}"]
    _apply(cluster, *pods, loud)
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    said = dict.fromkeys((*names, "loud"), "")
    end = time.monotonic() + 20
    while not all(said.values()) and time.monotonic() < end:
        said = {name: cluster.kubectl("logs", "-n", "e2e", name).strip() for name in said}
    assert said == {**dict.fromkeys(names, "reached false"), "loud": "reached true"}


@pytest.mark.slow
def test_a_run_killed_anywhere_is_finished_by_the_next_one(cluster):
    before = inventory(NAME)
    cluster.host("ensure", kill_at=0)
    points = int(cluster.said.rsplit("points: ", 1)[1])
    # the last ones are those of rules and proof
    for point in sorted({*chosen(points, 1), *range(points - 15, points, 4)}):
        cluster.host("destroy")
        cluster.host("ensure", kill_at=point)
        cluster.host("ensure")
        assert cluster.host("ensure")["changed"] == [], f"killed at {point} of {points}"
        assert _held(cluster) == [], f"killed at {point} of {points}"
    cluster.host("destroy")
    assert difference(before, inventory(NAME)) == {}


def _held(cluster):
    """Addresses that the CNI plugin has given and not taken back."""
    return sorted(path.name for path in (cluster.layout.run / "cni" / "networks" / "lab").glob("10.*"))
