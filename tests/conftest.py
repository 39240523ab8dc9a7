"""What every test gets: a home of its own, no cluster, no Pulumi settings of the person who runs it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Module fixtures plan too: what a stack file leaves to the machine is the same on every machine that runs the tests.
os.environ["LAB_MACHINE"] = "memoryGiB=24,cpus=2"


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    # for tools that keep download caches there
    monkeypatch.setenv("LAB_REAL_HOME", os.environ.get("LAB_REAL_HOME", os.environ["HOME"]))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in (
        "COLUMNS",
        "KUBECONFIG",
        "PULUMI_CONFIG",
        "PULUMI_CONFIG_SECRET_KEYS",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_STACK",
    ):
        monkeypatch.delenv(name, raising=False)
    # Pulumi takes the home from the user database: without this a test would see the stacks of the person who runs it.
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path_factory.mktemp('backend')}")
    # An Output that is put into a string by mistake fails instead of printing an object's address.
    monkeypatch.setenv("PULUMI_ERROR_OUTPUT_STRING", "1")


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones run when they are asked for."""
    if os.environ.get("LAB_SLOW") != "1":
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="LAB_SLOW=1 runs the long tests too"))
