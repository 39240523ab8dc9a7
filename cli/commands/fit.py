"""`lab fit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from cli.fuzzy_match import find
from cli.output import console, print_json, print_table, print_wrapped
from stacks.catalog import Catalog, Model, load
from stacks.errors import LabError, Problem, SettingsError
from stacks.plan import Plan
from stacks.planning.build import try_plan
from stacks.planning.engines.vllm.networks import network
from stacks.settings import Settings
from stacks.settings.cluster import driver_for

_LONGEST_REASON = 110


@dataclass(frozen=True)
class Candidate:
    """One model on the card: its plan with the longest context that fits, or why there is none."""

    name: str
    model: Model
    plan: Plan | None
    refusal: str


def run(
    gpu: str, *, platform: str, display: bool, context: int, requests: int, everything: bool, as_json: bool
) -> None:
    """Ranks what the card can run: the most parameters first, since that is what answers hang on, then the longest
    context.
    """
    catalog = load()
    card = _card(gpu, platform, context, requests, catalog)
    found = [_candidate(name, card, platform, display, context, requests, catalog) for name in catalog.models]
    found = [c for c in found if "cuda" in c.model.devices]
    found.sort(key=_rank)
    fitting = [c for c in found if c.plan]
    shown = found if everything else fitting
    if as_json:
        print_json(
            {
                "gpu": card,
                "platform": platform,
                "leastContext": context,
                "requests": requests,
                "models": [_document(c) for c in shown],
            }
        )
        return
    out = console()
    out.print(f"[bold]{catalog.gpu(card).name}[/], {platform}")
    print_wrapped(
        out,
        f"{len(fitting)} of {len(found)} models fit with {context} tokens or more, or all that they were trained for",
        indent=0,
    )
    out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("model", "parameters", "weights", "longest context", "KV cache", "at most, at that length", ""):
        table.add_column(title, overflow="fold")
    for candidate in shown:
        table.add_row(*_row(candidate))
    print_table(out, table)
    out.print()
    note = (
        "at most: tokens/s of one request of that length, from memory bandwidth; every row was planned with the "
        "error band against it"
    )
    print_wrapped(out, note, indent=0, style="dim")


def _card(gpu: str, platform: str, context: int, requests: int, catalog: Catalog) -> str:
    """The card's name in the catalogue. Raises SettingsError with everything that is wrong on the command line."""
    problems = []
    found = find(gpu, catalog.gpus)
    if not isinstance(found, str):
        hint = f"did you mean {', '.join(found[:5])}?" if found else "see them with: lab gpus"
        problems.append(Problem("command line", "--gpu", f"the catalogue knows no {gpu}", hint))
    elif platform in ("linux", "wsl2") and platform not in catalog.gpu(found).memory:
        only = ", ".join(catalog.gpu(found).memory)
        problems.append(
            Problem(
                "command line",
                "--platform",
                f"{found} has no memory figure under {platform}",
                f"write --platform {only}",
            )
        )
    if platform not in ("linux", "wsl2"):
        problems.append(Problem("command line", "--platform", f"there is no {platform}", "write linux or wsl2"))
    if not 16 <= context <= 16_777_216:
        problems.append(
            Problem(
                "command line", "--context", f"{context} is no context", "write 16 to 16777216 tokens, such as 4096"
            )
        )
    if not 1 <= requests <= 4096:
        problems.append(
            Problem("command line", "--concurrency", f"{requests} is no number of requests", "write 1 to 4096")
        )
    if problems:
        raise SettingsError(problems)
    return str(found)


def _candidate(
    name: str, card: str, platform: str, display: bool, context: int, requests: int, catalog: Catalog
) -> Candidate:
    model = catalog.model(name)
    machine: dict[str, Any] = {
        "kind": "nvidia",
        "gpu": card,
        "platform": platform,
        "display": display,
        "memoryGiB": 1024,
        "cpus": 64,
    }
    if platform == "wsl2":
        machine["wslMemoryGiB"] = 1000
    try:
        trained = network(model).max_positions
        spec = {"name": "m", "model": name, "contextTokens": min(context, trained), "concurrentRequests": requests}
        if model.task == "transcription":  # memory is asked about, and vLLM's own image would be refused
            spec["image"] = "registry.local/vllm-audio:own"
        settings = Settings.from_config(
            {"machine": machine, "cluster": {"driver": driver_for("nvidia")}, "objective": "context", "models": [spec]}
        )
        plan, refusals = try_plan(settings, stack="fit", catalog=catalog)
    except LabError as error:
        return Candidate(name, model, None, error.message)
    return Candidate(name, model, plan, refusals[0].removeprefix("m: ") if refusals else "")


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    plan = candidate.plan
    context = plan.models[0].engine.max_model_len if plan else 0
    return plan is None, -candidate.model.parameter_count, -candidate.model.weights_gib.value, -context, candidate.name


def _row(candidate: Candidate) -> tuple[str, ...]:
    model = candidate.model
    size = f"{model.weights_gib.value:.1f} GiB {model.quantization or '16 bit'}"
    if candidate.plan is None:
        reason = (
            candidate.refusal
            if len(candidate.refusal) <= _LONGEST_REASON
            else f"{candidate.refusal[: _LONGEST_REASON - 3]}..."
        )
        return candidate.name, model.parameters, size, "[red]does not fit[/]", "", "", reason.replace("[", r"\[")
    engine = candidate.plan.models[0]
    bounds = engine.estimate
    notes: list[str] = [] if model.task in ("chat", "completion") else [model.task]
    if engine.engine.enforce_eager:
        notes.append("without CUDA graphs")
    kv = f"{engine.memory.kv_cache_gib:.2f} GiB" if engine.memory.kv_cache_gib else "none"
    return (
        candidate.name, model.parameters, size, f"{engine.engine.max_model_len:,}",
        kv, f"{bounds.single_tokens_per_second:g} tok/s" if bounds else "-", ", ".join(notes),
    )  # fmt: skip


def _document(candidate: Candidate) -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": candidate.name,
        "parameters": candidate.model.parameters,
        "fits": candidate.plan is not None,
    }
    if candidate.plan is None:
        return {**document, "refusal": candidate.refusal}
    engine = candidate.plan.models[0]
    return {
        **document,
        "longestContext": engine.engine.max_model_len,
        "memory": engine.memory.model_dump(mode="json", by_alias=True),
        "estimate": engine.estimate.model_dump(mode="json", by_alias=True) if engine.estimate else None,
        "args": list(engine.args),
    }
