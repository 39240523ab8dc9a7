"""Looks at a running cluster from outside and from inside its namespaces; changes nothing."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

from host.drivers.embedded import api
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.programs import QUEUE
from host.system import command

_FRESH_SECONDS = 40.0


def look(layout: Layout) -> dict[str, str]:
    """What is wrong with each program that listens inside only; an empty text is a healthy one."""
    words: list[str | Path] = [
        "nsenter",
        f"--net={layout.network_namespace}",
        "--",
        sys.executable,
        "-I",
        Path(__file__).with_name("health.py"),
        layout.pki,
        *([str(QUEUE)] if layout.plan.network_policies else []),
    ]
    done = command.run(words, timeout=30, check=False)
    try:
        found: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        return {}
    return found


def node_problem(layout: Layout) -> str:
    """Why the node is not ready, or the empty text. Lease and heartbeat tell a living kubelet from a Ready that nobody
    renewed.
    """
    node = layout.plan.node
    try:
        conditions = api.request(layout, "GET", f"/api/v1/nodes/{node}")["status"].get("conditions", [])
    except api.ApiError as error:
        return error.message
    ready = next((c for c in conditions if c["type"] == "Ready"), None)
    if not ready or ready["status"] != "True":
        return str((ready or {}).get("message", f"{node} has not reported yet"))
    if _age(ready["lastHeartbeatTime"]) < _FRESH_SECONDS:  # a new node has no lease in its first ten seconds
        return ""
    try:
        lease = api.request(layout, "GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
    except api.ApiError as error:
        return error.message
    age = _age(lease["spec"]["renewTime"])
    return "" if age < _FRESH_SECONDS else f"the kubelet of {node} last reported {age:.0f} s ago"


def _age(moment: str) -> float:
    """Seconds since an API time."""
    return (
        datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    ).total_seconds()
