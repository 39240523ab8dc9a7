"""NetworkPolicies on the embedded cluster: real pods, real packets."""

import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.drivers.embedded import parts, policies, proof, proof_end
from host.system import command
from stacks.catalog import load
from stacks.errors import HostError
from tests.e2e.conftest import Cluster, policies_version
from tests.e2e.test_cluster import _apply, _namespace, _pod, _service
from tests.support.inventory import difference, inventory

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


def _net(cluster, pod):
    """The network namespace of a pod, or of the node."""
    if pod == "node":
        return str(cluster.layout.network_namespace)
    uid = _of(cluster, pod, ".metadata.uid")
    for found in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):
            if f"pod{uid}" in found.read_text():
                return f"/proc/{found.parent.name}/ns/net"
    raise AssertionError(f"no process of {pod}")


def _reaches(cluster, pod, address, port=SERVED):
    words = ["nsenter", f"--net={_net(cluster, pod)}", "--", sys.executable, "-I", proof_end.__file__, "ask", address]
    return json.loads(command.run([*words, str(port)], timeout=20).stdout)[str(port)]


def _soon(cluster, wanted, *call):
    """Whether a connection succeeds as `wanted` within the seconds that a change of policies may take."""
    deadline = time.monotonic() + 10
    while (found := _reaches(cluster, *call)) != wanted and time.monotonic() < deadline:
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
        assert _soon(cluster, True, who, echo), who
    assert _answers(node_port)

    # denied by default, then allowed for one
    _apply(cluster, _policy("deny", {}, ["Ingress"]))
    assert _soon(cluster, False, "friend", echo)
    assert not _reaches(cluster, "other", echo)
    assert not _answers(node_port)
    assert _reaches(cluster, "node", echo)  # as the kubelet's probes
    allowed = {
        "from": [{"podSelector": {"matchLabels": {"role": "friend"}}}],
        "ports": [{"port": SERVED, "protocol": "TCP"}],
    }
    _apply(cluster, _policy("allow", {"matchLabels": {"app": "echo"}}, ["Ingress"], ingress=[allowed]))
    assert _soon(cluster, True, "friend", echo)
    assert _reaches(cluster, "friend", service, 80)
    assert not _reaches(cluster, "other", echo)
    assert not _reaches(cluster, "other", service, 80)

    # the node's own addresses, which the pod's packets reach without being forwarded
    assert _reaches(cluster, "other", cluster.plan.address, 6443)
    _apply(cluster, _policy("mute", {"matchLabels": {"app": "other"}}, ["Egress"]))
    assert _soon(cluster, False, "other", cluster.plan.address, 6443)
    assert _reaches(cluster, "friend", cluster.plan.address, 6443)

    # killed: new connections are dropped, the node's are not, and status says so
    os.kill(cluster.pid(PROGRAM), signal.SIGKILL)
    assert not _reaches(cluster, "friend", echo)
    assert _reaches(cluster, "node", echo)
    status = cluster.host("status")
    assert (status["state"], list(status["problems"])) == ("degraded", [PROGRAM])
    assert "dropped" in status["problems"][PROGRAM]
    assert cluster.host("ensure")["changed"] == [f"started {PROGRAM}"]
    assert cluster.host("status")["state"] == "running"
    assert _soon(cluster, True, "friend", echo)
    assert not _reaches(cluster, "other", echo)

    # taken away: everybody is let in again
    cluster.kubectl("delete", "networkpolicy", "-n", "e2e", "--all")
    assert _soon(cluster, True, "other", echo)
    assert _answers(node_port)

    cluster.host("destroy")
    assert difference(before, inventory(NAME)) == {}
    assert _tables(cluster) == tables


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


def test_pods_do_not_meet_on_link_local_ipv6_addresses_that_no_policy_names(cluster, echo_image):
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    cluster.host("ensure")
    reference, archive = echo_image
    cluster.containerd_import(archive)
    _apply(cluster, _namespace(), _pod("echo", reference), _pod("other", cluster.pause()))
    cluster.kubectl("wait", "-n", "e2e", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    words = ["nsenter", f"--net={_net(cluster, 'echo')}", "ip", "-json", "address", "show", "dev", "eth0"]
    addresses = json.loads(command.run(words, timeout=20).stdout)[0]["addr_info"]
    local = next(each["local"] for each in addresses if each["family"] == "inet6")
    assert not _reaches(cluster, "other", f"{local}%eth0")
    built = parts.available(cluster.plan, cluster.layout.cache)
    policies.remove(cluster.layout, built)
    assert _soon(cluster, True, "other", f"{local}%eth0")  # it was our rule that refused it
