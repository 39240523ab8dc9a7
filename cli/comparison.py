"""What an edit of a stack file changes: in the plan, and where the stack runs already. Both from the plans alone."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cli.changes import Change, git
from cli.effects import Effect, effects
from cli.load import REFERENCE_MACHINE, load_plan
from cli.render.markdown import cell
from stacks.errors import LabError
from stacks.plan import Plan

_MOST_EFFECTS = 12


def comparison(root: Path, change: Change, after: Plan) -> list[str]:
    """What the edit changes in the plan and on its machine; the program as it is now plans the file as it was, too."""
    old = git(root, "show", f"{change.fork_point}:./Pulumi.{after.stack}.yaml")
    if old.returncode:
        return ["A new stack."]
    try:
        before = _planned(root, after.stack, old.stdout)
    except LabError:
        return ["The stack file did not work before this change, so there is nothing to compare with."]
    old_facts, new_facts = facts(before, after), facts(after, before)
    rows = [
        f"| {cell(name)} | {cell(old_facts.get(name, '—'))} | {cell(new_facts.get(name, '—'))} |"
        for name in dict.fromkeys((*new_facts, *old_facts))
        if old_facts.get(name) != new_facts.get(name)
    ]
    running = _where_it_runs(before, after)
    if not rows:
        other = "the plan, but none of the settings that are compared here"
        what = "nothing in the plan" if before.digest == after.digest else other
        return [f"The edit of the stack file changes {what}.", *running]
    table = ["| setting | before | after |", "| --- | --- | --- |", *rows]
    return ["**What the edit of the stack file changes**", "", *table, *running]


def _planned(root: Path, stack: str, file: bytes) -> Plan:
    """The plan of a stack file that is no longer there, with the project's catalogue as it is now. Raises LabError."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"Pulumi.{stack}.yaml").write_bytes(file)
        if (root / "catalog").is_dir():
            (Path(folder) / "catalog").symlink_to(root / "catalog")
        return load_plan(Path(folder), stack, machine=REFERENCE_MACHINE)[1]


def _where_it_runs(before: Plan, after: Plan) -> list[str]:
    """What `up` would do to a stack that was made from the plan before."""
    if before.cluster.driver != after.cluster.driver:
        down, up = f"./lab down {after.stack}", f"./lab up {after.stack}"
        what = f"Where the stack runs, type `{down}` before the merge, and `{up}` after it."
        return ["", f"It is another cluster, and nothing moves there. {what}"]
    found = effects(before, after)
    counts = Counter(effect.op for effect in found)
    same = counts.pop("same", 0)
    if not counts:
        return ["", "Where the stack runs already, nothing changes."]
    words = ", ".join([*(f"{count} to {op}" for op, count in sorted(counts.items())), f"{same} unchanged"])
    lines = [_line(effect) for effect in found if effect.op != "same"]
    if len(lines) > _MOST_EFFECTS:
        lines = ["<details>", "<summary>Each of them</summary>", "", *lines, "", "</details>"]
    notes = ["", "What the Secret holds is not compared."] if before.auth == after.auth == "apiKey" else []
    return ["", f"**Where the stack runs already**: {words}.", "", *lines, *notes]


def _line(effect: Effect) -> str:
    return f"- {effect.op} `{effect.name}`, {effect.kind}" + (f": {effect.note}" if effect.note else "")


def facts(plan: Plan, other: Plan) -> Mapping[str, str]:
    """What a reviewer would compare, by name. A model that only one of the two plans has is one fact."""
    machine, both = plan.machine, {m.name for m in plan.models} & {m.name for m in other.models}
    facts = {
        "machine": f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else "no GPU",
        "machine.platform": machine.platform,
        "machine.cpus": str(machine.cpus),
        "cluster": plan.cluster.driver,
        "modelCache.path": plan.cache_folder or f"the claim {plan.model_cache.name}",
    }
    facts |= {decision.name: decision.value for decision in plan.decisions}
    for model in plan.models:
        if model.name not in both:
            facts[model.name] = f"{model.weights.repository} at {model.endpoint}"
            continue
        facts |= {f"{model.name}.weights": model.weights.repository, f"{model.name}.endpoint": model.endpoint}
        facts |= {f"{model.name}.replicas": str(model.replicas)}
        facts |= {f"{model.name}.environment.{key}": value for key, value in model.environment.items()}
        facts |= {f"{model.name}.{decision.name}": decision.value for decision in model.decisions}
    return facts
