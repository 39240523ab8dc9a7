"""`lab doctor`: every layer between the machine and an answer, what is wrong with it, and what to type."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cli.consent import ask
from cli.doctor.bundle import write_bundle
from cli.doctor.examination import Case, examined
from cli.doctor.fixes import Step, steps
from cli.output import console, print_json, print_lines, print_wrapped
from cli.render.doctor import print_report
from cli.root_rights import root_rights
from host.system.looking import ThisMachine
from stacks.errors import LabError

if TYPE_CHECKING:
    from probes.kubernetes_api import KubernetesApi
    from probes.nvidia import Machine

_BUNDLE_WIDTH = 120


def run(
    root: Path,
    stack: str | None,
    *,
    fix: bool,
    yes: bool,
    bundle: Path | None,
    as_json: bool,
    machine: Machine | None = None,
    api: KubernetesApi | None = None,
) -> None:
    """Prints the report; exits with 1 where a layer is broken. `machine` and `api` stand for this machine and the
    stack's cluster. Raises LabError (exit code 2) where there is no such stack, and where nobody can be asked for a
    fix.
    """
    here = machine or ThisMachine()
    case = examined(root, stack, here, api)
    mended: list[str] = []
    if fix and (wanted := steps(case)):
        mended = _mend(wanted, stack, yes=yes)
        case = examined(root, stack, here, api)
    if as_json:
        print_json({**case.report.to_json(), "fixed": mended})
    else:
        _print(case, mended, fix=fix)
    if bundle is not None:
        _write(bundle, case, quiet=as_json)
    sys.exit(1 if case.report.state == "fail" else 0)


def _mend(wanted: list[Step], stack: str | None, *, yes: bool) -> list[str]:
    """Lists the steps, asks, and does them; returns what was done. Raises LabError without a yes."""
    out = console(stderr=True)
    for step in wanted:
        print_wrapped(out, step.what, indent=8, first=f"  {'root' if step.root else 'user'}")
    again = " ".join(["./lab doctor", *([stack] if stack else []), "--fix --yes"])
    ask("Do this?", yes=yes, remedy=again)
    done = []
    with root_rights(needed=any(step.root for step in wanted)):
        for step in wanted:
            try:
                step.do()
                done.append(step.what)
            except LabError as error:
                print_lines(out, f"  not done: {error}")
    return done


def _print(case: Case, mended: list[str], *, fix: bool) -> None:
    out = console()
    print_report(out, case.report)
    for what in mended:
        print_wrapped(out, what, indent=9, first="  done", style="green")
    if not fix and steps(case):
        name = case.report.stack or ""
        out.print(f"some of it can be mended here: ./lab doctor {name} --fix".replace("  ", " "), style="dim")


def _write(path: Path, case: Case, *, quiet: bool) -> None:
    text = io.StringIO()
    print_report(Console(file=text, width=_BUNDLE_WIDTH, color_system=None, emoji=False, highlight=False), case.report)
    entries = write_bundle(path, case, text.getvalue())
    out = console(stderr=quiet)
    out.print(f"\nwrote {path}, keys, tokens, names and home folders taken out; look at it before you give it away:")
    for name, size in entries:
        out.print(f"  {size:>9,}  {name}", markup=False)
