"""`command:local:Command`: runs its scripts as pulumi-command 1.2 does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any, Final

from engine.apply import process
from engine.apply.handler import Made, Outputs, Task
from engine.apply.process import Surroundings
from engine.errors import EngineError
from engine.state import Resource
from engine.wire import plain

_SHELL: Final = ("/bin/sh", "-c")
_SHOWN_LINES: Final = 40


class Commands:
    """A script each for creation, update and deletion; unchanged means that none runs."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def prepare(self, task: Task) -> Outputs:  # noqa: ARG002 (the protocol)
        """Nothing: running the script once more is what `ensure` means."""
        return {}

    def create(self, task: Task, noted: Outputs) -> Made:  # noqa: ARG002 (the protocol)
        """Runs `create`; the id is drawn."""
        said = self._run(task, task.inputs.get("create"), {})
        return Made(f"{task.name}{secrets.token_hex(4)}", {**task.inputs, **said})

    def update(self, task: Task, old: Resource) -> Made:
        """Runs `update`, or `create` where there is none, with what was printed last in its environment."""
        said = self._run(task, task.inputs.get("update") or task.inputs.get("create"), old.get("outputs", {}))
        return Made(str(old["id"]), {**task.inputs, **said})

    def delete(self, task: Task, old: Resource, *, unsure: bool) -> None:  # noqa: ARG002 (the protocol)
        """Runs `delete`, also where it is not sure that `create` came to its end: it may have got half-way."""
        self._run(task, task.inputs.get("delete"), old.get("outputs", {}))

    def exists(self, task: Task, old: Resource) -> bool:  # noqa: ARG002 (the protocol)
        """Nobody can look: it is taken as there."""
        return True

    def _run(self, task: Task, script: object, before: Mapping[str, Any]) -> Outputs:
        inputs, before = plain(task.inputs), plain(before)
        if not script:
            return {name: before.get(name, "") for name in ("stdout", "stderr")}
        script = plain(script)
        environment = dict(os.environ)
        if before and inputs.get("addPreviousOutputInEnv", True):
            environment |= {f"PULUMI_COMMAND_{name.upper()}": str(before.get(name, "")) for name in ("stdout", "stderr")}
        environment |= inputs.get("environment") or {}
        ended = process.run(
            [*(inputs.get("interpreter") or _SHELL), str(script)], environment, folder=self._around.folder / inputs.get("dir", ""),
            text=inputs.get("stdin"), around=self._around, on_line=lambda line, stream: _tell(task, line, stream),
            timeout=task.timeout or None,
        )  # fmt: skip
        if ended.code or ended.late:
            how = f"took longer than {task.timeout:g} s" if ended.late else f"ended with {ended.code}"
            lines = (ended.stdout + ended.stderr).rstrip().splitlines()
            said = "".join(f"\n    {line}" for line in lines[-_SHOWN_LINES:])
            raise EngineError(task.talk.voice.blind(f"the Command {task.name} {how}: {script}{said}"))
        return {"stdout": ended.stdout.removesuffix("\n"), "stderr": ended.stderr.removesuffix("\n")}


def _tell(task: Task, line: str, stream: str) -> None:
    task.talk.say("output", line, "stderr" if stream == "stderr" else "stdout")
