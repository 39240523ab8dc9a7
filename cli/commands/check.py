"""`lab check`: does every model of a stack answer?"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from cli.commands.learn import learn_from_running
from cli.deployed import Deployed, deployed
from cli.output import console, fail, print_json
from probes.hops import Walk, table
from probes.inference_check import check, check_in_docker


def check_all(target: Deployed, *, wait: bool = False) -> list[Walk]:
    """The walk to each model of the stack; with `wait` rollouts that are under way are waited for."""
    plan, stack, key = target.plan, target.stack, target.api_key()
    say = (lambda said: console(stderr=True).print(f"  {said}", markup=False, style="dim")) if wait else None
    gateway = target.gateway_access() if plan.gateway else None
    if plan.target == "docker":
        ask = partial(check_in_docker, plan.cluster.name)
    else:
        where = plan.kubernetes
        ask = partial(check, where.kubeconfig, namespace=where.namespace, forward=plan.cluster.foreign)
    return [
        ask(
            m.name,
            m.endpoint,
            api_key=key,
            stack=stack,
            task=m.task,
            adapters=[adapter.name for adapter in m.adapters],
            wait=say,
            gateway=gateway,
        )
        for m in plan.models
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
    if all(walk.ok for walk in walks):
        learn_from_running(target)
    broken = [walk.failure for walk in walks if walk.failure]
    if broken and not as_json:
        fail(broken[0], as_json=False)
    sys.exit(1 if broken else 0)
