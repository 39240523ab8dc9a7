"""One stack as the CLI sees it: the project, the settings of its surroundings, and the operations on it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.commands.env import prepare
from cli.pulumi.backend import remove_damaged_attributes
from cli.pulumi.events import Event, Outcome, Reader
from host.artifacts.pulumi import Pulumi
from host.system import command
from stacks.errors import LabError
from stacks.settings.stack_file import stack_path

_CALL_SECONDS = 300.0
_GRACE_SECONDS = 90.0  # a cancelled run waits for what each resource is in the middle of
_NO_STACK = "no stack named"


@dataclass(frozen=True)
class Workspace:
    """The stack `stack` of the project in `root`. `backend` and `config` replace the project's own where nothing of it
    may be touched.
    """

    root: Path
    stack: str
    pulumi: Pulumi
    temporary: Path
    backend: str = ""
    config: Path | None = None

    def environment(self) -> dict[str, str]:
        """What the CLI is run with, beside our own environment."""
        found = {
            **surroundings(self.root, self.pulumi),
            "TMPDIR": str(self.temporary),
            "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true",
        }
        return found | ({"PULUMI_BACKEND_URL": self.backend} if self.backend else {})

    def call(self, *words: str, text: str | None = None, cwd: Path | None = None) -> str:
        """One short command; returns its standard output. Raises LabError with what Pulumi said."""
        done = command.run(
            [self.pulumi.program, *words, "--non-interactive"], timeout=_CALL_SECONDS, cwd=cwd or self.root,
            environment=self.environment(), text=text, check=False,
        )  # fmt: skip
        if done.returncode:
            raise explained(self.stack, (done.stderr or done.stdout).strip())
        return done.stdout

    def deployment(self) -> dict[str, Any] | None:
        """The stack's state as `pulumi stack export` gives it, None where the stack does not exist. Raises LabError."""
        export = ("stack", "export", "--stack", self.stack)
        try:
            text = self.call(*export)
        except LabError as error:
            if _NO_STACK in error.message:
                return None
            if not remove_damaged_attributes(self.root, self.stack):
                raise
            text = self.call(*export)
        document = json.loads(text)
        found: dict[str, Any] = document.get("deployment") or {}
        return found

    def init(self, *, cwd: Path | None = None) -> None:
        """Makes the stack in the backend; Pulumi adds `encryptionsalt` to its file. Raises LabError."""
        self.call("stack", "init", self.stack, "--no-select", cwd=cwd)

    def on_a_copy(self) -> Workspace:
        """The same stack with a copy of its file: Pulumi adds `encryptionsalt` where that is missing, and a preview
        changes nothing.
        """
        file = stack_path(self.root, self.stack)
        self.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(file, self.temporary / file.name)
        return replace(self, config=self.temporary / file.name)

    def run(self, operation: str, *words: str, on_event: Callable[[Event], None]) -> Outcome:
        """`preview`, `up`, `refresh` or `destroy` to its end; each event is told as it happens. Raises
        CommandFailed.
        """
        reader = Reader(on_event)
        skip = [] if operation == "preview" else ["--yes", "--skip-preview"]
        config = ["--config-file", str(self.config)] if self.config else []
        self.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        ended = command.stream(
            [self.pulumi.program, operation, "--stack", self.stack, "--json", "--non-interactive", *skip, *config,
            *words],
            cwd=self.root, environment=self.environment(), on_line=reader.line, grace=_GRACE_SECONDS,
        )  # fmt: skip
        return replace(
            reader.outcome, code=ended.code, errors=reader.outcome.errors + ended.errors, interrupted=ended.interrupted
        )


def surroundings(root: Path, pulumi: Pulumi) -> dict[str, str]:
    """The settings with which plain `pulumi` sees the same stacks as `lab`."""
    found = pulumi.environment()
    if "PULUMI_CONFIG_PASSPHRASE" not in os.environ and "PULUMI_CONFIG_PASSPHRASE_FILE" not in os.environ:
        found["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(prepare(root))
    return found


@contextmanager
def scratch(root: Path, stack: str, pulumi: Pulumi) -> Iterator[Workspace]:
    """A stack of the same name that exists for the length of the block only, in a backend and with a stack file of its
    own.
    """
    with tempfile.TemporaryDirectory(prefix="lab-preview-") as folder:
        place = Path(folder)
        (place / "backend").mkdir()
        file = stack_path(root, stack)
        shutil.copyfile(file, place / file.name)
        (place / "Pulumi.yaml").write_text((root / "Pulumi.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        found = Workspace(root, stack, pulumi, place / "tmp", f"file://{place / 'backend'}", place / file.name)
        found.temporary.mkdir(mode=0o700)
        found.init(cwd=place)
        yield found


def explained(stack: str, said: str) -> LabError:
    """What Pulumi said, with what to type where that is known."""
    text = said.removeprefix("error: ")
    remedy = ""
    if "incorrect passphrase" in said:
        remedy = (
            f"the passphrase is not the one that Pulumi.{stack}.yaml was made with: name that one in "
            "PULUMI_CONFIG_PASSPHRASE_FILE; where the file holds no `secure:` value its line `encryptionsalt` may go "
            "instead"
        )
    elif "currently locked" in said:
        remedy = (
            f"another run works on it: wait for that; if it runs on a machine that is gone: ./lab pulumi cancel "
            f"--stack {stack}"
        )
    return LabError(text, remedy=remedy)
