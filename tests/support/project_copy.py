"""A copy of the project, driven as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT


class ProjectCopy:
    """The project in `folder`, with our own .venv and without its stack files. `said` is all that the last command
    wrote.
    """

    left_out: tuple[str, ...] = ("Pulumi.*.yaml",)

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, ""
        skip = shutil.ignore_patterns(
            ".venv*", ".git", ".*_cache", "__pycache__", ".hypothesis", ".lab-install.lock", *self.left_out
        )
        shutil.copytree(ROOT, folder, ignore=skip)
        (folder / ".venv").symlink_to(ROOT / ".venv")

    def write_stack(self, stack: str, own: Mapping[str, Any]) -> None:
        """The stack's file with those settings; the salt of its passphrase stays."""
        config = {"pulumi:disable-default-providers": ["kubernetes"]}
        config |= {f"local-ai-lab:{key}": value for key, value in own.items()}
        file, document = self.folder / f"Pulumi.{stack}.yaml", {"config": config}
        if file.exists() and (salt := yaml.safe_load(file.read_text()).get("encryptionsalt")):
            document["encryptionsalt"] = salt
        file.write_text(yaml.safe_dump(document))

    def edit(self, file: str, change: Callable[[Any], object]) -> None:
        """Changes a file of the copy's catalogue."""
        path = self.folder / "stacks/catalog" / file
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document))

    def environment(self) -> dict[str, str]:
        """What its commands have."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def __call__(self, *words: str, codes: tuple[int, ...] = (0,), module: str = "cli") -> dict[str, Any]:
        """Runs one command; returns its JSON, or {} where it printed none."""
        done = subprocess.run(
            [self.folder / ".venv/bin/python", "-P", "-m", module, *words],
            cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=2400, check=False,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}
