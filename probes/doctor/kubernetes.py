"""The cluster of the stack: whether it answers, its node, its client, and who else works in it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx

from probes.doctor.subject import Subject, fail, ok, skipped, warn
from probes.nvidia import Layer
from probes.nvidia.layer import NOT_FOUND

_PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")
_PENDING = "pending-install, pending-upgrade, pending-rollback"
_STUCK_SECONDS = 900  # longer than Helm's own default of 5 minutes, and than any chart that the lab installs
_OTHERS = {
    "gpu-operator": "NVIDIA's GPU operator", "k8s-dra-driver": "NVIDIA's DRA driver", "hami": "HAMi",
    "kai-scheduler": "the KAI scheduler", "runai": "Run:ai", "volcano-vgpu": "Volcano vGPU",
}  # fmt: skip


def kubectl(subject: Subject) -> Layer:
    """A client at most one minor version from the server, if there is one."""
    wanted = subject.kubernetes
    words = ["kubectl", "version", "-o", "json"]
    if wanted is not None and subject.answering is not None:
        words.insert(1, f"--kubeconfig={wanted.kubeconfig}")
    else:
        words.append("--client")
    ran = subject.machine.run(words)
    if ran.code == NOT_FOUND:
        return skipped("kubectl", "not installed, and not needed")
    versions = _versions(ran.output)
    if "clientVersion" not in versions:
        return skipped("kubectl", ran.output or "says nothing")
    client, server = versions["clientVersion"], versions.get("serverVersion")
    if server is None:
        return ok("kubectl", f"client {client[2]}")
    evidence = f"client {client[2]}, server {server[2]}"
    if client[0] != server[0] or abs(client[1] - server[1]) > 1:
        cause = "a client more than one minor version from its server misreads objects"
        where = "https://kubernetes.io/docs/tasks/tools"
        return warn("kubectl", evidence, cause, f"install kubectl {server[0]}.{server[1]}: {where}")
    return ok("kubectl", evidence)


def cluster(subject: Subject) -> Layer:
    """The API server answers."""
    if subject.plan is None:
        return skipped("cluster", "no stack was named")
    if subject.kubernetes is None:
        running = ", ".join(subject.serving)
        said = f"containers of the stack: {running}" if running else f"no container runs: ./lab up {subject.stack}"
        return (ok if running else skipped)("cluster", said)
    if subject.api is None:
        return skipped("cluster", subject.no_api or f"not made yet: ./lab up {subject.stack}")
    try:
        response = subject.api.get("/version").raise_for_status()
    except httpx.HTTPError as error:
        cause = "its API server does not answer: the cluster is stopped, or is another one now"
        fix = f"./lab status {subject.stack} says more; ./lab up {subject.stack} starts it"
        return fail("cluster", str(error) or type(error).__name__, cause, fix)
    found = str(response.json().get("gitVersion", ""))
    planned = subject.kubernetes.kubernetes
    if _minor(found) != _minor(planned):
        cause = f"the plan says {planned}"
        return warn("cluster", f"Kubernetes {found}", cause, f"./lab preview {subject.stack} shows what an update does")
    return ok("cluster", f"Kubernetes {found}")


def node(subject: Subject) -> Layer:
    """The node is Ready, under no pressure and not closed."""
    api = subject.answering
    if api is None:
        return skipped("node", "no cluster answers")
    nodes = api.items("/api/v1/nodes")
    evidence, worst = [], None
    for entry in nodes:
        name = entry["metadata"]["name"]
        conditions = {c["type"]: c for c in entry.get("status", {}).get("conditions", [])}
        pressures = [p for p in _PRESSURES if conditions.get(p, {}).get("status") == "True"]
        ready = conditions.get("Ready", {}).get("status") == "True"
        closed = bool(entry.get("spec", {}).get("unschedulable"))
        said = ", ".join(["Ready" if ready else "not Ready", *pressures, *(["cordoned"] if closed else [])])
        evidence.append(f"{name}: {said}")
        if not ready or pressures or closed:
            worst = worst or _node_problem(name, conditions, pressures, ready=ready, closed=closed)
    if not nodes:
        return fail("node", "the cluster has no node", "nothing can run there", f"./lab up {subject.stack}")
    if worst:
        state, cause, fix = worst
        return (fail if state else warn)("node", "; ".join(evidence), cause, fix)
    return ok("node", "; ".join(evidence))


def _node_problem(
    name: str, conditions: dict[str, Any], pressures: list[str], *, ready: bool, closed: bool
) -> tuple[bool, str, str]:
    """Whether it stops the stack, the cause, and what to type."""
    if "DiskPressure" in pressures:
        cause = "its disk is too full: pods are evicted, the taint node.kubernetes.io/disk-pressure keeps new ones away"
        return True, cause, "free disk (layer disk says how); the taint goes by itself about five minutes later"
    if pressures:
        said = conditions[pressures[0]].get("message", "")
        return True, f"{pressures[0]}: {said}".rstrip(": "), f"kubectl describe node {name}"
    if not ready:
        said = conditions.get("Ready", {}).get("message") or "its kubelet says nothing"
        return True, str(said), f"kubectl describe node {name} says more; ./lab up starts what is stopped"
    return not closed, "it was closed to new pods", f"kubectl uncordon {name}"


def helm(subject: Subject) -> Layer:
    """No release of Helm hangs in the middle of an operation."""
    api = subject.answering
    if api is None:
        return skipped("helm", "no cluster answers")
    selector = f"owner=helm,status in ({_PENDING})"
    found = api.items("/api/v1/secrets", labelSelector=selector, fieldSelector="type=helm.sh/release.v1")
    if not found:
        return ok("helm", "no release is pending")
    first = found[0]["metadata"]
    labels, space = first.get("labels", {}), first["namespace"]
    evidence = ", ".join(
        f"{s['metadata']['namespace']}/{s['metadata'].get('labels', {}).get('name', s['metadata']['name'])}: "
        f"{s['metadata'].get('labels', {}).get('status', 'pending')}"
        for s in found
    )
    age = _age(first.get("creationTimestamp"))
    cause = "Helm refuses every operation on such a release: another operation is in progress"
    install = labels.get("status") == "pending-install"
    name = labels.get("name", "RELEASE")
    fix = f"helm uninstall {name} -n {space}" if install else f"helm rollback {name} -n {space}"
    if age is not None and age < _STUCK_SECONDS:
        return warn("helm", evidence, f"begun {age // 60} minutes ago: it may still be at work", f"wait; then: {fix}")
    return fail("helm", evidence, cause, fix)


def operators(subject: Subject) -> Layer:
    """Nobody else sets up the cards of this cluster."""
    api = subject.answering
    if api is None:
        return skipped("operators", "no cluster answers")
    seen: dict[str, str] = {}
    for path in ("/apis/apps/v1/deployments", "/apis/apps/v1/daemonsets"):
        for entry in api.items(path):
            images = " ".join(c.get("image", "") for c in entry["spec"]["template"]["spec"]["containers"])
            for word, what in _OTHERS.items():
                if word in images:
                    seen.setdefault(what, f"{entry['metadata']['namespace']}/{entry['metadata']['name']}")
    if not seen:
        return ok("operators", "none beside the lab")
    evidence = ", ".join(f"{what} ({place})" for what, place in seen.items())
    cause = "it sets up drivers, runtimes or shares of the cards too, and two of them undo each other's work"
    fix = "use driver existing, which leaves the cards to it, or remove it with what installed it"
    return warn("operators", evidence, cause, fix)


def _versions(text: str) -> dict[str, tuple[int, int, str]]:
    try:
        document = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return {}
    found = {}
    for key in ("clientVersion", "serverVersion"):
        numbers = re.match(r"v?(\d+)\.(\d+)", str((document.get(key) or {}).get("gitVersion", "")))
        if numbers:
            found[key] = int(numbers[1]), int(numbers[2]), str(document[key]["gitVersion"])
    return found


def _minor(version: str) -> str:
    found = re.match(r"v?(\d+\.\d+)", version)
    return found[1] if found else version


def _age(stamp: str | None) -> int | None:
    try:
        return int((datetime.now(UTC) - datetime.fromisoformat(str(stamp))).total_seconds())
    except ValueError:
        return None
