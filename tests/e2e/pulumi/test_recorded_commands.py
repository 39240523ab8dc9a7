"""The stand-in for the command plugin decides as Pulumi's own did: the same states, steps and detailed differences."""

import json
from pathlib import Path

import pytest

from tests.e2e.pulumi.project import Project
from tests.e2e.pulumi.record import RECORDED, result

pytestmark = pytest.mark.e2e
CASES = json.loads(RECORDED.read_text())["cases"]


@pytest.mark.parametrize("name", CASES)
def test_a_case_goes_as_it_was_recorded(project: Project, name: str) -> None:
    case = CASES[name]
    kubeconfig = Path(project.environment["HOME"]) / ".local/state/sample-lab/dev/kubeconfig.src"  # one case copies it
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.touch()
    found = result(project, case)
    assert found["state"] == case["state"]
    recorded = set(case["steps"])  # older CLIs leave out what stays as it is
    assert {n: s for n, s in found["steps"].items() if n in recorded} == case["steps"]
    assert {s["op"] for n, s in found["steps"].items() if n not in recorded} <= {"same"}
