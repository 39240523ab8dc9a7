"""What an edit of a stack file changes: in the plan, and where the stack runs already."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.changes import Change, git
from cli.markdown import cell
from cli.stack_preview import StackPreview, layered, load_plan
from stacks.errors import LabError
from stacks.planning.plan import Plan
from stacks.settings import PROJECT
from stacks.stack_file import StackConfig, read_stack

if TYPE_CHECKING:
    from engine import Preview, Step
    from engine import StackConfig as EngineConfig

_MOST_EFFECTS = 12


def comparison(root: Path, change: Change, shown: StackPreview) -> list[str]:
    """What the edit of the stack file changes in the plan and on its machine: both files run through the program as it is now."""
    file, before, after = f"Pulumi.{shown.stack}.yaml", None, shown.plan
    old = git(root, "show", f"{change.fork_point}:./{file}")
    if old.returncode:
        return ["A new stack."]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file).write_bytes(old.stdout)
        try:
            config, before = load_plan(Path(folder), shown.stack)
            effects = _effects(root, shown, config, Path(folder) / "state.json")
        except LabError:
            if before is None:
                return ["The stack file did not work before this change, so there is nothing to compare with."]
            effects = [
                "",
                "What `up` would do where the stack runs already could not be worked out: the program does not run on the old file.",
            ]
    old_facts, new_facts = facts(before, after), facts(after, before)
    rows = [
        f"| {cell(name)} | {cell(old_facts.get(name, '—'))} | {cell(new_facts.get(name, '—'))} |"
        for name in dict.fromkeys((*new_facts, *old_facts))
        if old_facts.get(name) != new_facts.get(name)
    ]
    if not rows:
        what = "nothing in the plan" if before.digest == after.digest else "the plan, but none of the settings that are compared here"
        return [f"The edit of the stack file changes {what}.", *effects]
    return ["**What the edit of the stack file changes**", "", "| setting | before | after |", "| --- | --- | --- |", *rows, *effects]


def _effects(root: Path, shown: StackPreview, old: StackConfig, state: Path) -> list[str]:
    """What `up` would do where the stack runs as its file was before: that file's preview, written to `state`, is what is there."""
    import engine

    program = engine.Program(PROJECT, shown.stack, root, root / "__main__.py")
    there = [
        {"id": "known", **(step.new or {})} if step.custom else dict(step.new or {})
        for step in _worked(engine.preview(program, _flat(old)))
    ]
    state.write_text(json.dumps({"version": 3, "deployment": {"resources": there}}), encoding="utf-8")
    steps = _worked(engine.preview(program, _flat(read_stack(root, shown.stack)), state))
    counts = Counter(step.op for step in steps)
    same = counts.pop("same", 0)
    if not counts:
        return ["", "Where the stack runs already, nothing changes."]
    words = ", ".join([*(f"{count} to {op}" for op, count in sorted(counts.items())), f"{same} unchanged"])
    effects = [_effect(step) for step in layered(steps) if step.op != "same"]
    if len(effects) > _MOST_EFFECTS:
        effects = ["<details>", "<summary>Each of them</summary>", "", *effects, "", "</details>"]
    return ["", f"**Where the stack runs already**: {words}.", "", *effects]


def _effect(step: Step) -> str:
    restarts = step.op == "update" and any(path.startswith("spec.template.") for path in step.detailed_diff or {})
    return f"- {step.op} `{step.name}`, {step.type}" + (": its pods are restarted" if restarts else "")


def _flat(config: StackConfig) -> EngineConfig:
    from engine import StackConfig as EngineConfig

    return EngineConfig(config.flat, config.secret_keys)


def _worked(preview: Preview) -> Sequence[Step]:
    """The steps of a preview. Raises LabError where the program stopped."""
    if not preview.ok:
        raise LabError("the program failed in preview", remedy="see the messages of ./lab preview STACK")
    return preview.steps


def facts(plan: Plan, other: Plan) -> Mapping[str, str]:
    """What a reviewer would compare, by name. A model that only one of the two plans has is one fact."""
    machine, both = plan.machine, {m.name for m in plan.models} & {m.name for m in other.models}
    facts = {
        "machine": f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else "no GPU",
        "machine.platform": machine.platform,
        "machine.cpus": str(machine.cpus),
        "cluster": plan.cluster.driver,
        "modelCache.path": plan.model_cache.host_path,
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
