"""The built CLI and plugins of the person who runs the tests. They are not built here: that takes ten minutes."""

import os
from pathlib import Path

import pytest

from host.artifacts import pulumi_modules
from stacks import names
from tests.conftest import ROOT
from tests.pulumi.project import Project

_BUILD = "type: .venv/bin/python -m host.artifacts.pulumi_modules"
RELEASED = os.environ.get("LAB_COMMAND_PLUGIN")
"""Another command plugin to hold to the same tests, such as that of Pulumi's release."""


def _built(part: pulumi_modules.Part) -> Path:
    cache = Path(os.environ["LAB_REAL_HOME"]) / ".cache" / names.PART_OF
    if os.environ.get("LAB_E2E") == "0":
        pytest.skip("LAB_E2E=0 leaves real engines out")
    folder = pulumi_modules.built(part, cache)
    if folder is None:
        (pytest.fail if os.environ.get("LAB_E2E") == "1" else pytest.skip)(
            f"the {part} of Pulumi is not built from its modules: {_BUILD}"
        )
    return folder


@pytest.fixture
def cli() -> Path:
    """The folder of the CLI and the language host."""
    return _built("cli")


@pytest.fixture
def project(tmp_path: Path, cli: Path) -> Project:
    """A project with one stack and no Commands yet."""
    plugin = Path(RELEASED) if RELEASED else _built("command") / "pulumi-resource-command"
    virtual = ROOT / ".venv"
    return Project(tmp_path, cli, plugin, virtual)


@pytest.fixture
def stand_in() -> None:
    """For what the stand-in does and the released plugin does not."""
    if RELEASED:
        pytest.skip("the released plugin is not that strict")
