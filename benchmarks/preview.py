"""Times `pulumi preview` of our program and of a bare one with the same resources, in turn: python -m benchmarks.preview [RUNS].

The bare program is the list of our resources as literals: what somebody would write who already knew every number.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import seconds, spread
from tests.support.record_cli import project_copy, pulumi, surroundings
from tests.support.stacks import STACKS, preview

_HEAD = """import pulumi
import pulumi_kubernetes
import pulumi_command.local
from pulumi import ResourceOptions as Opts
made = {}
"""


def bare_program(stack: str) -> str:
    """Python text that registers the same resources, one literal call each."""
    lines = [_HEAD]
    for step in preview(stack).steps:
        if step.type == "pulumi:pulumi:Stack":
            continue
        inputs = {k: v for k, v in step.inputs.items() if k not in ("apiVersion", "kind", "__internal", "version")}
        options = f"parent=made.get({step.parent!r}), depends_on=[made[u] for u in {list(step.dependencies)!r} if u in made]"
        if not step.custom:
            lines.append(f"made[{step.urn!r}] = pulumi.ComponentResource({step.type!r}, {step.name!r}, None, Opts({options}))")
            continue
        if step.provider and step.type.startswith("kubernetes:"):
            options += f", provider=made[{step.provider.rpartition('::')[0]!r}], deleted_with=made[{step.deleted_with!r}]"
        lines.append(f"made[{step.urn!r}] = {_class(step.type)}({step.name!r}, opts=Opts({options}), **{_snake(inputs)!r})")
    return "\n".join(lines) + "\n"


def _class(resource_type: str) -> str:
    if resource_type == "pulumi:providers:kubernetes":
        return "pulumi_kubernetes.Provider"
    package, module, name = resource_type.split(":")
    if package == "command":
        return f"pulumi_command.local.{name}"
    group, version = module.split("/")
    return f"pulumi_kubernetes.{group.split('.')[0]}.{version}.{name}"


def _snake(inputs: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), k): v for k, v in inputs.items()}


def main(runs: int) -> None:
    """Alternates the two programs and prints medians and the median of the paired differences."""
    with tempfile.TemporaryDirectory() as scratch:
        ours = project_copy(Path(scratch) / "ours")
        bare = project_copy(Path(scratch) / "bare")
        env = surroundings(Path(scratch))
        for stack in STACKS:
            (bare / "__main__.py").write_text(bare_program(stack), encoding="utf-8")
            pulumi(ours, env, "stack", "init", stack)
            (bare / f"Pulumi.{stack}.yaml").write_text((ours / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
            times: dict[str, list[float]] = {"ours": [], "bare": []}
            for turn in range(runs + 1):
                for name, folder in (("ours", ours), ("bare", bare)):
                    took = seconds(lambda f=folder, s=stack: pulumi(f, env, "preview", "-s", s))
                    if turn:  # the first pair warms caches
                        times[name].append(took)
            for name, samples in times.items():
                sys.stdout.write(f"{stack:10} {name:5} {spread(samples)}\n")
            differences = [a - b for a, b in zip(times["ours"], times["bare"], strict=True)]
            sys.stdout.write(f"{stack:10} ours - bare, paired: median {statistics.median(differences) * 1e3:.0f} ms\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
