"""`lab init`: looks at the machine and writes a stack file for it that plans."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cli.cluster_context import needs_context, node_of
from cli.commands.plan import show
from cli.load import load_plan
from cli.output import console, print_json, print_wrapped
from host.system.files import write_atomic
from host.system.looking import ThisMachine
from probes.machine import look
from stacks.catalog import load
from stacks.errors import LabError, Problem, SettingsError, shown
from stacks.found_machine import FoundMachine
from stacks.planning.proposals.propose import Proposal, propose
from stacks.planning.proposals.text import stack_file
from stacks.planning.proposals.words import machine_words, usual_name
from stacks.settings import SECRET_KEYS
from stacks.settings.stack_file import SECRET_FILE_KEYS, is_stack_name

if TYPE_CHECKING:
    from probes.nvidia import Machine


@dataclass(frozen=True)
class Wanted:
    """What was typed; None leaves it to the proposal, or to a question."""

    name: str | None = None
    driver: str | None = None
    model: str | None = None
    cpu: bool = False
    context: str | None = None
    yes: bool = False
    force: bool = False


def run(root: Path, wanted: Wanted, *, as_json: bool, machine: Machine | None = None) -> None:
    """Writes Pulumi.NAME.yaml and shows its plan. Raises LabError (exit code 2) where nobody can be asked, where the
    file is there already, and where nothing can be proposed.
    """
    _check_name(wanted.name)
    if not wanted.yes and (as_json or not sys.stdin.isatty()):
        again = " ".join(["./lab init", *([wanted.name] if wanted.name else []), "--yes"])
        raise LabError("`lab init` asks, and nobody can be asked here", remedy=again, exit_code=2)
    catalog, cluster = load(root), None
    if (context := wanted.context) is not None:
        wanted = replace(wanted, driver="existing")
        found, cluster = node_of(context)
    else:
        found = look(machine or ThisMachine())

    def proposed(driver: str | None, model: str | None) -> Proposal:
        if driver == "existing" and cluster is None:
            raise needs_context()
        return propose(
            found, catalog, stack=wanted.name or "init", driver=driver, model=model, cpu=wanted.cpu, cluster=cluster
        )

    first = proposed(wanted.driver, wanted.model)
    name = wanted.name or usual_name(first)
    path = root / f"Pulumi.{name}.yaml"
    kept = _may_write(path, wanted)
    if not wanted.yes:
        out = console(stderr=True)
        print_wrapped(out, f"This machine: {machine_words(found)}", indent=0)
        first = _asked(first, wanted, proposed)
    proposal = replace(first, stack=name)
    write_atomic(path, stack_file(proposal, machine=machine_words(found)) + kept)
    plan = load_plan(root, name)[1]
    if as_json:
        print_json(_document(proposal, found, path, json.loads(plan.to_json())))
        return
    show(console(), plan, why=False, sources=False)
    _print_end(proposal, path)


def _check_name(name: str | None) -> None:
    if name is not None and not is_stack_name(name):
        message = f"{shown(name)} is no name of a stack"
        raise SettingsError([Problem("command line", "NAME", message, "write one such as my-machine")])


def _may_write(path: Path, wanted: Wanted) -> str:
    """What of an existing file is kept: its secrets and their salt. Raises LabError where it must not be replaced."""
    if not path.exists():
        return ""
    if not wanted.force:
        if not wanted.yes and _yes(f"{path.name} is there already. Replace it?"):
            return _secrets(path)
        remedy = "type --force to replace it, or another NAME"
        raise LabError(f"{path.name} is there already", remedy=remedy, exit_code=2)
    return _secrets(path)


def _secrets(path: Path) -> str:
    """The lines of a file that only Pulumi can make again."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as problem:
        remedy = "remove it, or write another NAME"
        raise LabError(f"{path.name} cannot be read: {problem}", remedy=remedy, exit_code=2) from None
    config = document.get("config") if isinstance(document, dict) else None
    secrets = {k: v for k, v in (config or {}).items() if str(k).rpartition(":")[2] in SECRET_KEYS}
    rest = {k: v for k, v in document.items() if k in SECRET_FILE_KEYS} if isinstance(document, dict) else {}
    inner = yaml.safe_dump(secrets, width=1000) if secrets else ""
    return "".join(f"  {line}\n" for line in inner.splitlines()) + (yaml.safe_dump(rest, width=1000) if rest else "")


def _asked(first: Proposal, wanted: Wanted, proposed: Callable[[str | None, str | None], Proposal]) -> Proposal:
    """The proposal after the two questions that a machine cannot answer."""
    chosen = first
    if wanted.driver is None and first.driver.others:
        drivers = (first.driver.driver, *first.driver.others)
        words = [f"{name}{f' ({first.driver.reason})' if name == drivers[0] else ''}" for name in drivers]
        driver = drivers[_choice("What runs it?", words)]
        chosen = first if driver == drivers[0] else proposed(driver, wanted.model)
    if wanted.model is None and len(chosen.options) > 1:
        words = [f"{ask.model}, {ask.context} tokens, {ask.requests} requests at once" for ask in chosen.options]
        place = _choice("Which model? These fit, the best first:", words)
        chosen = chosen if place == 0 else proposed(chosen.driver.driver, chosen.options[place].model)
    return chosen


def _choice(question: str, options: Sequence[str]) -> int:
    """The place of the option that a person picks; the first one where only Enter is typed."""
    out = console(stderr=True)
    out.print(f"[bold]{question}[/]")
    for number, option in enumerate(options, 1):
        out.print(f"  {number}. {option}", markup=False)
    while True:
        out.print("\\[1] ", end="")
        typed = input().strip() or "1"
        if typed.isdecimal() and 1 <= int(typed) <= len(options):
            return int(typed) - 1
        out.print(f"type a number from 1 to {len(options)}")


def _yes(question: str) -> bool:
    console(stderr=True).print(f"[bold]{question}[/] \\[y/N] ", end="")
    return input().strip().lower() in ("y", "yes")


def _print_end(proposal: Proposal, path: Path) -> None:
    out = console()
    out.print(f"[bold green]wrote[/] {path.name}")
    for note in proposal.notes:
        print_wrapped(out, note, indent=13, first="  note", style="yellow")
    for step in proposal.before_up:
        print_wrapped(out, step, indent=13, first="  before up", style="yellow")
    again = f"to change it: edit the file, then ./lab plan {proposal.stack}"
    out.print(f"  next: ./lab up {proposal.stack}    {again}", style="dim")


def _document(proposal: Proposal, found: FoundMachine, path: Path, plan: Any) -> dict[str, Any]:
    return {
        "stack": proposal.stack,
        "file": path.name,
        "machine": asdict(found),
        "config": dict(proposal.config),
        "driver": asdict(proposal.driver),
        "models": [asdict(ask) for ask in proposal.options],
        "notes": list(proposal.notes),
        "beforeUp": list(proposal.before_up),
        "plan": plan,
    }
