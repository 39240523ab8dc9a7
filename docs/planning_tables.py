"""The tables of planning.md, computed: python docs/planning_tables.py writes them between their marks; a test compares.

The first puts the two settings that the owner of an RTX 2060 SUPER found by hand beside what the planner derives for
the same card, the second says what two engines on one card gain and cost.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stacks.catalog import load  # noqa: E402
from stacks.errors import Edit, PlanError  # noqa: E402
from stacks.plan import Plan  # noqa: E402
from stacks.planning.build import build_plan  # noqa: E402
from stacks.planning.edits import apply_edits  # noqa: E402
from stacks.planning.engines.vllm.memory import EngineRun, Verdict, predict  # noqa: E402
from stacks.planning.engines.vllm.networks import network  # noqa: E402
from stacks.planning.gpus.roofline import Reads  # noqa: E402
from stacks.settings import Settings  # noqa: E402
from stacks.settings.stack_file import read_stack  # noqa: E402

STACK = "rtx2060"  # an RTX 2060 SUPER under WSL2, whose owner wrote down what was tried
ENGINE_BY_HAND = "0.12.0"  # the image tag `latest` of December 2025, when they were found
SHARED_CONTEXT = 512  # tokens; what two engines hold beside two copies of the weights and two error bands
# two engines need more RAM than the 16 GB of that machine
LARGER = (Edit("machine.memoryGiB", 32), Edit("machine.wslMemoryGiB", 24))


def planned(*edits: Edit) -> Plan:
    """The stack with edits, engines sharing the card where the edits want it."""
    own = apply_edits(read_stack(ROOT, STACK).own, edits)
    return build_plan(Settings.from_config(own), stack=STACK)


def by_hand(utilization: float, context: int) -> dict[str, Any]:
    """One row of what was tried: its flags, vLLM's defaults for the rest, on the card beside Windows' desktop."""
    model = load().model("phi-3-mini-4k-instruct-awq")
    plan = planned()
    card = plan.cards[0]
    run = EngineRun(
        architecture=network(model), version=ENGINE_BY_HAND, total_gib=card.total_gib,
        free_gib=card.total_gib - card.desktop_gib - plan.models[0].memory.context_gib,
        capability=(7, 5), wsl2=True, gpu_memory_utilization=utilization, max_model_len=context, max_num_seqs=256,
        max_num_batched_tokens=2048, dtype="float16", quantization="awq", checkpoint_gib=model.weights_gib.value,
    )  # fmt: skip
    answer = predict(run)
    says = "starts" if answer.fits else "does not start"
    if answer.verdict is Verdict.TOO_CLOSE:
        says += f", but within the band of {answer.band_gib:.2f} GiB: a plan would not rely on it"
    return {"kv": answer.kv_gib or 0.0, "needed": answer.kv_needed_gib, "says": says}


def tokens(kv_gib: float) -> int:
    """Tokens in a KV cache of Phi-3-mini, whole blocks of 16: 32 layers x 2 x 32 heads x 96 x 2 bytes each."""
    return max(0, int(kv_gib * 2**30 // (16 * 393216))) * 16


def by_hand_table() -> list[str]:
    """Both rows of what was tried, the failure before them, and two derived plans."""
    one = planned()
    memory = one.models[0].memory
    possible = memory.kv_cache_gib + one.cards[0].unused_gib
    lines = [
        "| settings | one request needs | KV cache | tokens | of what the card can hold | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, utilization, context in (
        ("by hand, first: 0.40, 2,048 tokens", 0.40, 2048),
        ("by hand, before: 0.40, 1,920 tokens, 1 engine", 0.40, 1920),
        ("by hand, after: 0.30, 1,024 tokens, each of 2 engines", 0.30, 1024),
    ):
        row = by_hand(utilization, context)
        share = max(0.0, row["kv"]) / possible
        lines.append(
            f"| {title} | {row['needed']:.2f} GiB | {row['kv']:.2f} GiB | {tokens(row['kv']):,} | {share:.0%} "
            f"| {row['says']} |"
        )
    try:
        planned(*_two(1024))
        lines.append("| asked for: 1,024 tokens, 2 engines on the card | | | | | fits |")
    except PlanError as error:
        ways = "; ".join(error.alternatives)
        needs = error.refusals[0].partition("sharing: ")[2].partition(" at least")[0]
        free = one.cards[0].total_gib - one.cards[0].desktop_gib
        verdict = f"refused: {needs} at least of {free:.2f} GiB; would fit: {ways}"
        lines.append(f"| asked for: 1,024 tokens, 2 engines on the card | | | | | {verdict} |")
    two = planned(*_two())
    for title, plan, engines in (
        ("derived: 4,096 tokens, 1 engine", one, 1),
        (f"derived: {SHARED_CONTEXT} tokens, 2 engines on the card", two, 2),
    ):
        kv = plan.models[0].memory
        text = f"{kv.kv_cache_gib:.2f} GiB" + (
            f" each, {engines * kv.kv_cache_gib:.2f} together" if engines > 1 else ""
        )
        lines.append(
            f"| {title} | {kv.kv_needed_gib:.2f} GiB | {text} | {tokens(engines * kv.kv_cache_gib):,} "
            f"| {engines * kv.kv_cache_gib / possible:.0%} | fits, with the error band taken off |"
        )
    return lines


def _two(context: int = SHARED_CONTEXT) -> tuple[Edit, ...]:
    where = "models[0]"
    return (
        *LARGER,
        Edit("machine.sharedCard", True),
        Edit(f"{where}.replicas", 2),
        Edit(f"{where}.contextTokens", context),
        Edit(f"{where}.concurrentRequests", 4),
    )


def replica_table() -> list[str]:
    """Two engines on one card against one that is asked for the same: what is gained."""
    one = planned(*LARGER, Edit("models[0].contextTokens", SHARED_CONTEXT), Edit("models[0].concurrentRequests", 8))
    two = planned(*_two())
    lines = ["| | 1 engine, 8 requests | 2 engines, 4 requests each | change |", "| --- | --- | --- | --- |"]

    def line(title: str, before: float, after: float, form: str) -> None:
        change = f"{(after - before) / before:+.0%}" if before else "new"
        lines.append(f"| {title} | {before:{form}} | {after:{form}} | {change} |")

    a, b = one.models[0], two.models[0]
    assert a.estimate and b.estimate  # noqa: S101  (both are plans of a card)
    fixed = [sum(s.fixed_gib for s in p.cards[0].shares) for p in (one, two)]
    line("GiB that hold no tokens (weights, context, band ...)", fixed[0], fixed[1], ".2f")
    line("KV tokens of all engines", a.memory.kv_tokens, 2 * b.memory.kv_tokens, ",.0f")
    line("full-length requests held", a.memory.concurrency, 2 * b.memory.concurrency, ".1f")
    requests = b.estimate.requests
    bandwidth, total = a.estimate.bandwidth_gb_s, b.estimate.total_tokens_per_second
    alone = Reads(a.memory.weights_gib, a.memory.kv_needed_gib * 2**30).tokens_per_second(requests, bandwidth)
    line("full-length requests in flight", a.estimate.requests, requests, ".0f")
    line("tokens/s of all that are in flight, upper bound", a.estimate.total_tokens_per_second, total, ".0f")
    line(f"tokens/s of {requests} requests, upper bound", alone, total, ".0f")
    line("ms between two tokens, lower bound", a.estimate.step_milliseconds, b.estimate.step_milliseconds, ".1f")
    line("engines that can fail alone", 1, 2, ".0f")
    return lines


TABLES = {"by-hand": by_hand_table, "replicas": replica_table}


def filled(text: str) -> str:
    """The document with its tables computed again."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        rows = "\n".join(table())
        text = marked.sub(rf"\g<1>{rows}\n\g<2>", text)
    return text


if __name__ == "__main__":
    document = ROOT / "docs" / "planning.md"
    document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8")
