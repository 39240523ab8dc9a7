"""`lab check`: does every model of a stack answer?"""

from __future__ import annotations

import sys
from pathlib import Path

from cli.deployed import Deployed, deployed
from cli.output import console, fail, print_json
from probes.hops import Walk, table
from probes.inference_check import check


def check_all(target: Deployed, *, wait: bool = False) -> list[Walk]:
    """The walk to each model of the stack; with `wait` rollouts that are under way are waited for."""
    key = target.api_key()
    kubeconfig = target.plan.cluster.kubeconfig
    say = (lambda said: console(stderr=True).print(f"  {said}", markup=False, style="dim")) if wait else None
    return [
        check(kubeconfig, m.name, m.endpoint, api_key=key, stack=target.stack, wait=say) for m in target.plan.models
    ]


def run(root: Path, stack: str | None, *, as_json: bool) -> None:
    """Prints the hops of each model; exits with 1 where one is broken, naming the first broken hop and what to type."""
    target = deployed(root, stack)
    target.require_deployable()
    walks = check_all(target)
    if as_json:
        print_json([walk.to_json() for walk in walks])
    else:
        out = console()
        for walk in walks:
            out.print(table(walk), markup=False)
            if "text" in walk.figures:
                out.print(f"\n  {walk.figures['question']}\n  {walk.figures['text']}\n", markup=False)
    broken = [walk.failure for walk in walks if walk.failure]
    if broken and not as_json:
        fail(broken[0], as_json=False)
    sys.exit(1 if broken else 0)
