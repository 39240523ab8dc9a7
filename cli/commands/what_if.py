"""`lab what-if`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from cli.comparison import facts
from cli.fuzzy_match import find
from cli.output import console, error_document, print_json, print_table
from host.system.machine import detected
from stacks.catalog import Catalog, load
from stacks.errors import Edit, LabError, PlanError, Problem, SettingsError
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.planning.edits import apply_edits
from stacks.settings import SECRET_KEYS, Settings
from stacks.settings.cluster import driver_for
from stacks.settings.stack_file import StackConfig, read_stack, stack_names

_MACHINE = {"kind": "nvidia", "memoryGiB": 64, "cpus": 16}


@dataclass(frozen=True)
class Question:
    """What is asked, as typed; None leaves the stack's own. `place` is the number of the model in the stack file, from
    0.
    """

    gpu: str | None
    model: str | None
    context: int | None
    concurrency: int | None
    replicas: int | None
    kv_cache_dtype: str | None
    objective: str | None
    shared_card: bool
    place: int
    settings: tuple[str, ...] = ()


def run(root: Path, stack: str | None, question: Question, *, as_json: bool) -> None:
    """Prints the present plan and the asked-for one side by side. Raises PlanError where what is asked for does not
    fit.
    """
    catalog = load()
    name = stack or _only_gpu_stack(root)
    config = read_stack(root, name)
    changed = _changed(config, question, catalog)
    secrets = frozenset(key for key in SECRET_KEYS if key in config.own)
    present: Plan | LabError
    try:
        settings = Settings.from_config(
            config.own, file=config.file, secret_keys=config.own_secret_keys, detected=detected()
        )
        present = build_plan(settings, stack=name, secrets=secrets)
    except LabError as error:
        present = error
    try:
        asked = build_plan(changed, stack=name, secrets=secrets)
    except PlanError as error:
        if not as_json and isinstance(present, Plan):
            console(stderr=True).print(f"present plan of {name}: {_line(present)}", markup=False)
        raise PlanError(error.refusals, stack=name, alternatives=error.proposals) from None
    rows = _rows(present, asked)
    if as_json:
        before = {"error": error_document(present)} if isinstance(present, LabError) else json.loads(present.to_json())
        rows_json = [{"setting": s, "present": b, "whatIf": a} for s, b, a in rows]
        print_json({"present": before, "whatIf": json.loads(asked.to_json()), "differences": rows_json})
        return
    out = console()
    if isinstance(present, LabError):
        out.print("the present stack file does not work; only the asked-for plan is shown", style="yellow")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("setting", "present", "what if"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    print_table(out, table)
    out.print("\nit fits" if rows else "\nnothing changes", style="green")


def _only_gpu_stack(root: Path) -> str:
    """The stack file with a GPU, where there is one only. Raises LabError."""
    found = []
    for stack in stack_names(root):
        try:
            machine = read_stack(root, stack).own.get("machine")
        except LabError:
            continue
        if isinstance(machine, dict) and machine.get("kind") == "nvidia":
            found.append(stack)
    if len(found) != 1:
        raise SettingsError(
            [
                Problem(
                    "command line",
                    "STACK",
                    f"{len(found)} stack files have a GPU",
                    f"name one: {', '.join(found or stack_names(root))}",
                )
            ]
        )
    return found[0]


def _changed(config: StackConfig, question: Question, catalog: Catalog) -> Settings:
    """The stack's settings with the question's. Raises SettingsError with everything that is wrong."""
    problems: list[Problem] = []

    def named(option: str, text: str | None, known: Any) -> str | None:
        if text is None:
            return None
        found = find(text, known)
        if isinstance(found, str):
            return found
        hint = (
            f"did you mean {', '.join(found[:5])}?"
            if found
            else f"see them with: lab {'gpus' if option == '--gpu' else 'models'}"
        )
        problems.append(Problem("command line", option, f"the catalogue knows no {text}", hint))
        return None

    own: dict[str, Any] = dict(config.own)
    gpu, model = named("--gpu", question.gpu, catalog.gpus), named("--model", question.model, catalog.models)
    count = len(own.get("models") or [])
    where = f"models[{question.place}]"
    if question.place >= count:
        remedy = f"write 0 to {count - 1}"
        problems.append(
            Problem("command line", "--place", f"the stack file has {count} models, counted from 0", remedy)
        )
        raise SettingsError(problems)
    edits = [
        Edit(f"{where}.{key}", value)
        for key, value in (
            ("model", model), ("contextTokens", question.context), ("concurrentRequests", question.concurrency),
            ("replicas", question.replicas), ("kvCacheDtype", question.kv_cache_dtype),
        ) if value is not None
    ]  # fmt: skip
    if model is not None:
        edits.append(Edit(f"{where}.revision", None))
    if gpu is not None:
        if own.get("machine", {}).get("kind") != "nvidia":
            own |= {"machine": {**_MACHINE}, "cluster": {"driver": driver_for("nvidia")}}
        edits.append(Edit("machine.gpu", gpu))
    if question.shared_card:
        edits.append(Edit("machine.sharedCard", True))
    edits += _settings(question.settings, problems)
    if question.objective is not None:
        edits.append(Edit("objective", question.objective))
    try:
        settings = Settings.from_config(
            apply_edits(own, edits),
            file=f"{config.file} with the options",
            secret_keys=config.own_secret_keys,
            detected=detected(),
        )
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _settings(words: tuple[str, ...], problems: list[Problem]) -> list[Edit]:
    """PATH=VALUE as an edit of the stack file, such as models[0].lora.adapters=2; the value is YAML."""
    edits = []
    for word in words:
        path, separator, text = word.partition("=")
        try:
            value = yaml.safe_load(text)
            apply_edits({"models": [{}] * 100}, [Edit(path, value)])
        except (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError):
            separator = ""
        if not separator:
            remedy = "write it as a path of the stack file and its value: --set models[0].tensorParallel=2"
            problems.append(Problem("command line", "--set", f"{word} is no setting", remedy))
            continue
        edits.append(Edit(path, value))
    return edits


def _line(plan: Plan) -> str:
    """A plan in one line."""
    models = ", ".join(
        f"{m.replicas} x {m.name} with {m.engine.max_model_len} tokens and {m.memory.kv_cache_gib:.2f} GiB of KV cache"
        for m in plan.models
    )
    return f"{plan.machine.gpu_name or 'no GPU'}, {models}"


def _rows(present: Plan | LabError, asked: Plan) -> list[tuple[str, str, str]]:
    """What differs, what people look for first on top: memory and speed, then every decision."""
    before = {} if isinstance(present, LabError) else {**_figures(present), **facts(present, asked)}
    after = {**_figures(asked), **facts(asked, asked if isinstance(present, LabError) else present)}
    return [
        (name, before.get(name, "-"), after.get(name, "-"))
        for name in dict.fromkeys((*after, *before))
        if before.get(name) != after.get(name)
    ]


def _figures(plan: Plan) -> dict[str, str]:
    figures: dict[str, str] = {}
    for model in plan.models:
        memory, bounds = model.memory, model.estimate
        figures |= {
            f"{model.name}: KV tokens": f"{memory.kv_tokens:,}",
            f"{model.name}: full-length requests held": f"{memory.concurrency:.2f}",
            f"{model.name}: weights": f"{memory.weights_gib:.2f} GiB",
        }
        if bounds:
            figures[f"{model.name}: at most, alone"] = f"{bounds.single_tokens_per_second:g} tokens/s"
            figures[f"{model.name}: at most, together"] = (
                f"{bounds.total_tokens_per_second:g} tokens/s with {bounds.requests} requests"
            )
    for card in plan.cards:
        figures[f"card {card.index}: unused"] = f"{card.unused_gib:.2f} GiB"
    return figures
