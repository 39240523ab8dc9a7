"""`lab learn`: what an engine's start printed, beside what was planned, kept for the next plan."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.system.files import write_atomic
from stacks import measured
from stacks.errors import LabError
from stacks.measured import Row
from stacks.plan import ModelPlan
from stacks.planning.engines import ENGINES


def run(root: Path, stack: str | None, *, log: Path | None, model: str | None, as_json: bool) -> None:
    """Reads the log of each model's running engine, or `log` for one of them; prints planned beside printed, and writes
    measured/<stack>.yaml. Raises LabError where there is nothing to learn from.
    """
    target = deployed(root, stack)
    models = [m for m in target.plan.models if model in (None, m.name)]
    if not models or (log is not None and len(models) != 1):
        names = ", ".join(m.name for m in target.plan.models)
        raise LabError(
            f"name the model of the log: {names}", remedy=f"./lab learn {target.stack} --model NAME --log FILE"
        )
    texts = {models[0].name: _read(log)} if log is not None else _running(target, models)
    rows = learn(target, texts)
    if not rows:
        raise LabError(
            "the log says nothing of the engine's start",
            remedy=f"it may have been cut: restart the engine, then ./lab learn {target.stack}",
        )
    if as_json:
        documents = {name: [{**vars(row), "off": row.off} for row in found] for name, found in rows.items()}
        print_json({"stack": target.stack, "models": documents})
    else:
        for name, found in rows.items():
            print_rows(name, found)
        where = measured.path_of(Path(), target.stack)
        console().print(f"kept in {where}; the next plan uses it: ./lab plan {target.stack}", markup=False, style="dim")
    sys.exit(0)


def learn(target: Deployed, texts: Mapping[str, str]) -> dict[str, list[Row]]:
    """Planned beside printed for each model whose log tells anything, all of it kept; nothing is written where nothing
    changed.
    """
    before = {start.name: start for start in measured.read(target.root, target.stack)}
    catalogue = {m["name"]: m["model"] for m in target.config.own["models"]}
    after, rows = dict(before), {}
    for model in target.plan.models:
        engine = ENGINES[model.engine.name]
        start = engine.learned(model, target.plan.machine, catalogue[model.name], texts.get(model.name, ""))
        if start is not None:
            after[model.name] = start
            rows[model.name] = engine.compared(model, start)
    names = {m.name for m in target.plan.models}
    text = measured.text_of(tuple(start for name, start in after.items() if name in names))
    path = measured.path_of(target.root, target.stack)
    if rows and not (path.exists() and path.read_text(encoding="utf-8") == text):
        write_atomic(path, text)
    return rows


def learn_from_running(target: Deployed) -> dict[str, list[Row]]:
    """The same from what runs now, for the end of `up` and `check`; nothing where no log can be had."""
    try:
        return learn(target, _running(target, list(target.plan.models)))
    except LabError:
        return {}


def print_rows(name: str, rows: list[Row]) -> None:
    """One model's table; what is off by more than the band is yellow."""
    out = console()
    out.print(f"[bold]{name}[/]   planned    printed   band")
    for row in rows:
        digits = 2 if row.unit == "GiB" else 0
        text = (
            f"  {row.part:14} {row.planned:9,.{digits}f}  {row.printed:9,.{digits}f}  ±{row.band:,.{digits}f} "
            f"{row.unit}"
        )
        out.print(text + ("   off" if row.off else ""), markup=False, style="yellow" if row.off else "")


def _read(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LabError(f"{log} cannot be read: {error.strerror}", remedy="name a file with the engine's log") from None


def _running(target: Deployed, models: list[ModelPlan]) -> dict[str, str]:
    """The logs of running engines, by model. Raises CheckFailed where the cluster does not answer."""
    from probes.engine_logs import container_logs, engine_logs

    if target.plan.target == "docker":
        return container_logs(target.plan.cluster.name, [model.name for model in models], stack=target.stack)
    cluster = target.plan.kubernetes
    containers = {model.name: model.engine.container for model in models}
    return engine_logs(cluster.kubeconfig, cluster.namespace, containers, stack=target.stack)


def summary(rows: Mapping[str, list[Row]]) -> list[dict[str, Any]]:
    """What was off, for the end of `up`."""
    return [{"model": name, **vars(row)} for name, found in rows.items() for row in found if row.off]
