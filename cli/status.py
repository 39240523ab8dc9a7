"""`lab status`: what runs, where, since when, and how to call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from stacks.planning.plan import canonical


def run(root: Path, stack: str | None, *, as_json: bool) -> None:
    """Prints the cluster's own status and the endpoints; looks only."""
    target = deployed(root, stack)
    target.require_deployable()
    cluster = cluster_status(target)
    endpoints = {m.name: m.endpoint for m in target.plan.models}
    if as_json:
        print_json({"stack": target.stack, "cluster": cluster, "endpoints": endpoints, "deployed": target.recorded()})
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
    for name, endpoint in endpoints.items():
        out.print(f"  endpoint  {endpoint}   model {name}", markup=False)
        key = " -H 'Authorization: Bearer KEY'" if target.plan.auth == "apiKey" else ""
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
        out.print(
            f"    curl -s {endpoint}/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'",
            markup=False,
            style="dim",
        )
    out.print(f"  kubeconfig  {target.plan.cluster.kubeconfig}", markup=False)


def cluster_status(target: Deployed) -> dict[str, Any]:
    """What the driver's own `status` says; `state` is `unknown` where it cannot say."""
    env = {**os.environ, "LAB_STACK": target.stack, "LAB_SPEC": canonical(target.plan.cluster)}
    command = [sys.executable, "-m", "host", target.plan.cluster.driver, "status"]
    done = subprocess.run(command, cwd=target.root, env=env, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return {"state": "unknown", "problems": {"status": done.stderr.strip()}}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
