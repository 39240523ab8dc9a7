"""`lab status`: what runs, where, since when, and how to call it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.commands.endpoint import forward_commands
from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.system import command
from probes.kubernetes_api import KubernetesApi
from probes.waiting import Waiting, waiting
from stacks.errors import CheckFailed


def run(root: Path, stack: str | None, *, as_json: bool) -> None:
    """Prints the cluster's own status and the endpoints; looks only."""
    target = deployed(root, stack)
    target.require_deployable()
    cluster = cluster_status(target)
    endpoints = {m.name: m.endpoint for m in target.plan.models}
    pods = _waiting(target, cluster)
    if as_json:
        told = [{"pod": w.pod, **asdict(w.problem)} for w in pods]
        print_json({
            "stack": target.stack, "cluster": cluster, "endpoints": endpoints, "deployed": target.recorded(),
            "waiting": told,
        })  # fmt: skip
        return
    out = console()
    out.print(f"[bold]stack {target.stack}[/]  cluster {target.plan.cluster.name}: {cluster.get('state', 'unknown')}")
    if cluster.get("state") == "absent":
        out.print(f"  make it: ./lab up {target.stack}")
        return
    for name, program in (cluster.get("programs") or {}).items():
        said = (
            f"pid {program['pid']}, since {program['seconds'] // 60} min {program['seconds'] % 60} s"
            if program
            else "does not run"
        )
        out.print(f"  {name:24} {said}", markup=False)
    for name, text in (cluster.get("problems") or {}).items():
        out.print(f"  {name}: {text}", markup=False, style="red")
    if line := target.network_policies:
        out.print(f"  {line}", markup=False)
    for found in pods:
        out.print(f"  pod {found.pod} {found.problem.what}", markup=False, style="yellow")
        out.print(f"    the cluster says: {found.problem.evidence}", markup=False, style="dim")
        out.print(f"    {found.problem.remedy}", markup=False)
    for forwarding in forward_commands(target.plan):
        out.print(f"  first     {forwarding}", markup=False, soft_wrap=True)
    for name, endpoint in endpoints.items():
        out.print(f"  endpoint  {endpoint}   model {name}", markup=False)
        key = " -H 'Authorization: Bearer KEY'" if target.plan.auth != "none" else ""
        if target.plan.gateway and target.plan.gateway.tls == "ownCa":
            key += f" --cacert {target.gateway_access().authority}"
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
        out.print(
            f"    curl -s {endpoint}/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'",
            markup=False,
            style="dim",
        )
    if target.plan.target == "kubernetes":
        out.print(f"  kubeconfig  {target.plan.kubernetes.kubeconfig}", markup=False)


def _waiting(target: Deployed, cluster: dict[str, Any]) -> list[Waiting]:
    """Pods that do not serve, as far as a running cluster can be asked."""
    if target.plan.target != "kubernetes" or cluster.get("state") not in ("running", "drifted"):
        return []
    try:
        api = KubernetesApi.from_kubeconfig(target.plan.kubernetes.kubeconfig, stack=target.stack)
        return waiting(api, target.plan)
    except CheckFailed:
        return []  # the driver's own status has said what is wrong with the cluster


def cluster_status(target: Deployed) -> dict[str, Any]:
    """What the driver's own `status` says; `state` is `unknown` where it cannot say."""
    words, environment = target.driver_command("status")
    done = command.run(words, cwd=target.root, environment=environment, timeout=60, check=False)
    if done.returncode:
        return {"state": "unknown", "problems": {"status": done.stderr.strip()}}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
