"""`lab validate`."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.load import load_plan
from cli.output import console, error_document, print_json
from stacks.errors import LabError
from stacks.settings.stack_file import stack_names


def run(root: Path, stacks: list[str], *, as_json: bool) -> None:
    """Plans each stack; exit code 2 where one of them cannot be used."""
    wanted = stacks or stack_names(root)
    if not wanted:
        raise LabError("there is no stack file here", remedy="write Pulumi.STACK.yaml; see README.md")
    results: dict[str, LabError | str] = {}
    for stack in wanted:
        try:
            results[stack] = load_plan(root, stack)[1].digest
        except LabError as error:
            results[stack] = error
    broken = {stack: error for stack, error in results.items() if isinstance(error, LabError)}
    if as_json:
        print_json(
            {
                s: {"ok": False, "error": error_document(r)} if isinstance(r, LabError) else {"ok": True, "digest": r}
                for s, r in results.items()
            }
        )
    else:
        out = console()
        for stack, result in results.items():
            if isinstance(result, LabError):
                out.print(f"[bold red]x[/] {stack}")
                out.print(f"{result}\n", markup=False)
            else:
                out.print(f"[bold green]ok[/] {stack}  [dim]plan {result}[/]")
    sys.exit(2 if broken else 0)
