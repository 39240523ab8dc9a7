"""A small Pulumi project of Commands only, driven by a real CLI with a home, a backend and plugins of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The program's Commands come from a file, so that a test is data. {"secret": X} stands for a secret, {"timeout": N} for
# a custom timeout.
_PROGRAM = """
import json, pathlib
import pulumi
from pulumi_command import local

def value(given):
    if isinstance(given, dict):
        if set(given) == {"secret"}:
            return pulumi.Output.secret(given["secret"])
        return {k: value(v) for k, v in given.items()}
    return [value(v) for v in given] if isinstance(given, list) else given

for name, given in json.loads(pathlib.Path("commands.json").read_text()).items():
    seconds = given.pop("timeout", None)
    timeouts = pulumi.CustomTimeouts(create=seconds, update=seconds, delete=seconds) if seconds else None
    local.Command(name, **value(given), opts=pulumi.ResourceOptions(custom_timeouts=timeouts))
"""
_LIMIT = 120
_MARK = "LAB_TEST_RUN"  # in the environment of all that a project's runs start


@dataclass
class Run:
    """What one run of the CLI said: its events, and all of its output as text."""

    code: int
    text: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def live(self, name: str) -> list[str]:
        """The lines that a Command showed while it ran."""
        return [line for e in self._said(name) if e.get("ephemeral") for line in e["message"].splitlines()]

    def error(self, name: str) -> str:
        """What the CLI says of a Command that failed."""
        return "\n".join(e["message"] for e in self._said(name) if e["severity"] == "error")

    def messages(self) -> list[str]:
        """All that the run said to people, in its order."""
        said = [e["diagnosticEvent"] for e in self.events if "diagnosticEvent" in e]
        return [s["message"].rstrip() for s in said if s["severity"] != "debug"]

    def operations(self) -> dict[str, list[str]]:
        """Command -> the engine's steps, in their order."""
        found: dict[str, list[str]] = {}
        for step in self._steps("resourcePreEvent"):
            if step["type"] == "command:local:Command":
                found.setdefault(_name(step["urn"]), []).append(step["op"])
        return found

    def step(self, name: str, kind: str = "resourcePreEvent", op: str | None = None) -> dict[str, Any]:
        """The last step of a Command, such as its preview, or the last of one operation."""
        return [s for s in self._steps(kind) if _name(s["urn"]) == name and op in (None, s["op"])][-1]

    def _steps(self, kind: str) -> list[dict[str, Any]]:
        return [e[kind]["metadata"] for e in self.events if kind in e]

    def _said(self, name: str) -> list[dict[str, Any]]:
        said = [e["diagnosticEvent"] for e in self.events if "diagnosticEvent" in e]
        return [s for s in said if _name(s.get("urn", "")) == name]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


class Project:
    """One project with one stack. `cli` is the folder of the CLI and language host, `plugin` the command provider."""

    def __init__(self, folder: Path, cli: Path, plugin: Path, virtual: Path) -> None:
        self.folder, self.cli, self.home, self.virtual = folder, cli / "pulumi", folder / ".home", virtual
        placed = self.home / "plugins" / "resource-command-v1.2.1" / "pulumi-resource-command"
        placed.parent.mkdir(parents=True)
        placed.symlink_to(plugin)
        backend, temporary = folder / ".backend", folder / ".tmp"
        backend.mkdir()
        temporary.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PULUMI_HOME": str(self.home),
            "TMPDIR": str(temporary),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "only for this test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true",
            _MARK: uuid.uuid4().hex,
        }
        self.settings(virtualenv=str(virtual))
        (folder / "__main__.py").write_text(_PROGRAM)
        self.write({})
        self.call("stack", "init", "dev")

    def write(self, commands: Mapping[str, Mapping[str, Any]]) -> None:
        """The Commands of the program: name -> arguments in Python's spelling."""
        (self.folder / "commands.json").write_text(json.dumps(commands))

    def program(self, text: str) -> None:
        """Another program than the one of Commands."""
        (self.folder / "__main__.py").write_text(textwrap.dedent(text))

    def settings(self, **options: str) -> None:
        """Pulumi.yaml with these options of the language host."""
        runtime = {"name": "python", "options": {"toolchain": "pip", **options}}
        (self.folder / "Pulumi.yaml").write_text(json.dumps({"name": "sample", "runtime": runtime}))

    def tried(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A short command of the CLI, however it ends."""
        return subprocess.run(
            [self.cli, *words, "--non-interactive"],
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )

    def call(self, *words: str, cwd: Path | None = None) -> str:
        """A short command of the CLI, which must succeed; returns its standard output."""
        done = self.tried(*words, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, operation: str, *words: str) -> subprocess.Popen[str]:
        """Begins preview, up, refresh or destroy in a process group of its own; its output is read by `ended`."""
        skip = [] if operation == "preview" else ["--yes", "--skip-preview"]
        return subprocess.Popen(
            [self.cli, operation, "--stack", "dev", "--json", "--non-interactive", *skip, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Run:
        """Waits for the end of a run that was started."""
        text = process.communicate(timeout=_LIMIT)[0]
        found = Run(process.returncode, text)
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                found.events.append(event)
        return found

    def run(self, operation: str, *words: str, fails: bool = False) -> Run:
        """One operation to its end; `fails` says which end is expected."""
        found = self.ended(self.start(operation, *words))
        assert (found.code != 0) == fails, found.text
        return found

    def up(self, commands: Mapping[str, Mapping[str, Any]], *, fails: bool = False) -> Run:
        """Writes the Commands and brings the stack up."""
        self.write(commands)
        return self.run("up", fails=fails)

    def previewed(self, commands: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Command -> its step in the document that `pulumi preview --json` writes."""
        self.write(commands)
        environment = {k: v for k, v in self.environment.items() if k != "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"}
        done = subprocess.run(
            [self.cli, "preview", "--stack", "dev", "--json", "--non-interactive", "--show-sames"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        steps = json.loads(done.stdout)["steps"]
        return {_name(s["urn"]): s for s in steps if "command:local:Command" in s["urn"]}

    def state(self) -> dict[str, dict[str, Any]]:
        """Command -> its resource in the state, secrets still encrypted."""
        document = json.loads(self.call("stack", "export"))
        rows = document["deployment"].get("resources") or []
        return {_name(r["urn"]): r for r in rows if r["type"] == "command:local:Command"}

    def outputs(self, name: str) -> dict[str, Any]:
        """A Command's outputs in the state."""
        found: dict[str, Any] = self.state()[name]["outputs"]
        return found

    def processes(self) -> dict[int, str]:
        """What this project's runs have started and what still runs: process id -> its command line."""
        mark, found = f"{_MARK}={self.environment[_MARK]}".encode(), {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        found[int(folder.name)] = (
                            (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        )
                except OSError:
                    continue
        return found

    def only(self, *left: str) -> bool:
        """Waits until nothing runs any more but processes with these texts in their command lines."""
        deadline = time.monotonic() + _LIMIT
        while time.monotonic() < deadline:
            running = self.processes()
            if all(any(text in line for text in left) for line in running.values()) and len(running) == len(left):
                return True
            time.sleep(0.1)
        raise AssertionError(f"still running: {self.processes()}")

    def end(self) -> None:
        """Kills what a test has left running."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)


def wait_for(path: Path) -> None:
    """Waits until a file is there."""
    deadline = time.monotonic() + _LIMIT
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made"
        time.sleep(0.05)
