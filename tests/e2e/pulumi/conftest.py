"""The CLI and plugins of the person who runs the tests, built from their modules where they are not there yet: some ten
minutes, once.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from host.artifacts import pulumi_modules
from stacks import names
from tests.conftest import ROOT
from tests.e2e.pulumi.project import Project

RELEASED = os.environ.get("LAB_COMMAND_PLUGIN")
"""Another command plugin to hold to the same tests, such as that of Pulumi's release."""


def _built(build: Callable[[Path], Path]) -> Path:
    if os.environ.get("LAB_E2E") == "0":
        pytest.skip("LAB_E2E=0 leaves real engines out")
    return build(Path(os.environ["LAB_REAL_HOME"]) / ".cache" / names.PART_OF)


@pytest.fixture
def cli() -> Path:
    """The folder of the CLI and the language host."""
    return _built(pulumi_modules.build_cli)


@pytest.fixture
def project(tmp_path: Path, cli: Path) -> Project:
    """A project with one stack and no Commands yet."""
    plugin = Path(RELEASED) if RELEASED else _built(pulumi_modules.build_command) / "pulumi-resource-command"
    virtual = ROOT / ".venv"
    return Project(tmp_path, cli, plugin, virtual)


@pytest.fixture
def stand_in() -> None:
    """For what the stand-in does and the released plugin does not."""
    if RELEASED:
        pytest.skip("the released plugin is not that strict")
