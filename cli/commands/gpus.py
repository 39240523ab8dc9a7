"""`lab gpus`: the cards that the planner knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from cli.output import console, print_json, print_table
from stacks.catalog import Fact, Gpu, load

_TITLE = "GPUs. GiB as torch reports a card; TFLOPS dense FP16 or BF16, summed in FP32"


def run(root: Path, *, as_json: bool, sources: bool) -> None:
    """Prints the cards, smallest memory first in the table and in the catalogue's order as JSON."""
    gpus = load(root).gpus
    if as_json:
        print_json({name: gpu.model_dump(mode="json", by_alias=True, exclude_none=True) for name, gpu in gpus.items()})
        return
    out = console()
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=_TITLE, title_justify="left", title_style="bold"
    )
    table.add_column("gpu", no_wrap=True)
    for column in ("GiB", "WSL2", "compute", "GB/s", "TFLOPS", "W"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("name", style="dim")
    for name, gpu in sorted(gpus.items(), key=lambda pair: (pair[1].memory["linux"].value, pair[0])):
        wsl = gpu.memory.get("wsl2")
        table.add_row(
            name,
            f"{gpu.memory['linux'].value:.2f}",
            f"{wsl.value:.2f}" if wsl else "-",
            gpu.compute_capability.value,
            f"{gpu.bandwidth_gbs.value:g}",
            f"{gpu.tensor_tflops.value:g}",
            f"{gpu.power_w.value:g}",
            gpu.name + (" (shared with the processor)" if gpu.unified_memory else ""),
        )
    print_table(out, table)
    if sources:
        out.print()
        for name, gpu in gpus.items():
            out.print(f"[bold]{name}[/]")
            for what, fact in facts(gpu):
                out.print(f"  {what} {fact.value:g}: {fact.source}", markup=False)
    else:
        out.print(f"{len(gpus)} cards; where each figure comes from: ./lab gpus --sources", style="dim", markup=False)


def facts(gpu: Gpu) -> list[tuple[str, Fact[Any]]]:
    """The numbers of a card, with their units."""
    return [
        *((f"GiB {platform}", fact) for platform, fact in gpu.memory.items()),
        ("GB/s", gpu.bandwidth_gbs),
        ("TFLOPS", gpu.tensor_tflops),
        ("W", gpu.power_w),
    ]
