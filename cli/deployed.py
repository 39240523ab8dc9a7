"""What the commands that touch a machine have in common: the stack's state, its secrets, and which stack was used last."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.env import prepare
from cli.stack_preview import load_plan
from host.state import folder
from stacks.errors import LabError
from stacks.planning.plan import EmbeddedPlan, Plan
from stacks.settings import PROJECT
from stacks.stack_file import StackConfig, stack_names

if TYPE_CHECKING:
    from engine import Program, SecretsManager
    from engine import StackConfig as EngineConfig

_LAST = Path("~/.local/state/local-ai-lab/last-stack")


@dataclass(frozen=True)
class Deployed:
    """One stack on this machine."""

    root: Path
    stack: str
    config: StackConfig
    plan: Plan

    @property
    def state(self) -> Path:
        """The embedded engine's state, in the form that `pulumi stack import` takes."""
        return folder(self.stack) / "state.json"

    @property
    def embedded(self) -> bool:
        """Whether the embedded engine may apply it."""
        return isinstance(self.plan.cluster, EmbeddedPlan)

    def program(self) -> Program:
        """The program for the engine."""
        import engine

        return engine.Program(project=PROJECT, stack=self.stack, root=self.root, main=self.root / "__main__.py")

    def secrets(self) -> SecretsManager:
        """The manager of the stack's passphrase. Raises LabError where the passphrase is not the stack file's."""
        from engine import SecretsManager

        return SecretsManager(passphrase(self.root), self.config.salt)

    def engine_config(self, secrets: SecretsManager) -> EngineConfig:
        """The flat map with its secrets decrypted, as the CLI would hand it to the program."""
        import engine

        opened = {key: secrets.decrypt(sealed) for key, sealed in self.config.sealed.items()}
        return engine.StackConfig({**self.config.flat, **opened}, self.config.secret_keys)


def deployed(root: Path, stack: str | None) -> Deployed:
    """The stack by name, or the one used last. Raises LabError (exit code 2) where neither is known, with what to type."""
    name = stack or last_stack(root)
    config, plan = load_plan(root, name)
    return Deployed(root, name, config, plan)


def last_stack(root: Path) -> str:
    """The stack that was used last. Raises LabError that says what fits this machine where there is none."""
    path = _LAST.expanduser()
    known = stack_names(root)
    if path.exists() and (name := path.read_text(encoding="utf-8").strip()) in known:
        return name
    gpu = shutil.which("nvidia-smi") or Path("/usr/lib/wsl/lib/nvidia-smi").exists()
    seen = "this machine has an NVIDIA driver" if gpu else "no NVIDIA driver was found here"
    fits = [n for n in known if _wants_gpu(root, n) == bool(gpu)] or known
    error = LabError(
        f"no stack was named, and none was used here before; {seen}", remedy="type one of: " + ", ".join(f"./lab up {n}" for n in fits)
    )
    error.exit_code = 2
    raise error


def remember(stack: str) -> None:
    """Notes the stack as the one used last."""
    path = _LAST.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stack + "\n", encoding="utf-8")


def passphrase(root: Path) -> str:
    """The passphrase as Pulumi would find it, else the file that lab makes."""
    if (text := os.environ.get("PULUMI_CONFIG_PASSPHRASE")) is not None:
        return text
    file = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    return (Path(file) if file else prepare(root)).read_text(encoding="utf-8").strip()


def _wants_gpu(root: Path, stack: str) -> bool:
    try:
        return load_plan(root, stack)[1].machine.kind == "nvidia"
    except LabError:
        return False
