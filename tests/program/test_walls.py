"""A cluster driver and a serving engine from one file each: the plan, the program and the docs know them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from host.drivers import DRIVERS as EFFECTS
from stacks.planning.clusters import DRIVERS
from stacks.planning.engines import ENGINES
from stacks.settings import VllmModel
from stacks.settings.cluster import DRIVER_SETTINGS
from tests.support.stacks import ROOT

PROGRAM = """
import contextlib, io, json, sys
from pathlib import Path
from tests.support.throwaway import install
install()
from cli.commands.plan import run
from components.rendered import commands
from stacks.plan import Plan
from stacks.settings import PROJECT
from stacks.settings.stack_file import read_stack
from tests.support.recording import Program, record
root, project = Path(sys.argv[1]), Path(sys.argv[2])
shown = io.StringIO()
with contextlib.redirect_stdout(shown):
    run(root, "thrown", as_json=True, svg=None, manifests=None)
document = json.loads(shown.getvalue())
plan = Plan.from_json(json.dumps(document["plan"] if "plan" in document else document))
flat = {f"{PROJECT}:{k}": json.dumps(v) for k, v in read_stack(root, "thrown").own.items()}
told = {"pulumi:disable-default-providers": '["kubernetes"]', **flat}
made = record(Program(project / "__main__.py", PROJECT, "thrown", told, frozenset()))
(deployment,) = [s.inputs for s in made.steps if s.name == "echoing" and s.type.endswith("Deployment")]
text = io.StringIO()
with contextlib.redirect_stdout(text):
    run(root, "thrown", as_json=False, svg=None, manifests=None)
print(json.dumps({
    "plan": plan.model_dump(mode="json", by_alias=True), "ok": made.ok, "said": list(made.diagnostics),
    "bootstrap": commands(plan)["cluster-ensure"].runs, "args": plan.models[0].args,
    "container": deployment["spec"]["template"]["spec"]["containers"][0], "text": text.getvalue()}))
"""


@pytest.fixture(scope="module")
def thrown(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What plan and program make of a stack file with both."""
    root = tmp_path_factory.mktemp("thrown")
    own = {
        "machine": {"kind": "cpu", "memoryGiB": 24, "cpus": 8},
        "cluster": {"driver": "paper", "pages": 7},
        "models": [{"name": "echoing", "engine": "echo", "model": "gemma-3-270m", "contextTokens": 512}],
    }
    (root / "Pulumi.thrown.yaml").write_text(
        yaml.safe_dump({"config": {f"local-ai-lab:{k}": v for k, v in own.items()}})
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(root), str(ROOT)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere", "HOME": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_driver_is_planned_from_one_file(thrown: dict) -> None:
    assert (thrown["plan"]["cluster"]["driver"], thrown["plan"]["cluster"]["pages"]) == ("paper", 7)
    assert "7 pages are folded" in [change["what"] for change in thrown["plan"]["hostChanges"]]
    assert thrown["plan"]["models"][0]["endpoint"] == "http://192.0.2.1:30081/v1"


def test_the_program_sends_the_new_drivers_bootstrap(thrown: dict) -> None:
    assert (thrown["ok"], thrown["said"]) == (True, [])
    assert thrown["bootstrap"] == "python -m host paper ensure"


def test_a_driver_without_effects_is_said_to_be_not_implemented(thrown: dict) -> None:
    assert "driver paper is not implemented in this version" in " ".join(thrown["text"].split())


def test_a_new_engine_is_planned_from_one_file(thrown: dict) -> None:
    engine = thrown["plan"]["models"][0]["engine"]
    assert engine == {"name": "echo", "maxModelLen": 512, "maxNumSeqs": 1}
    assert thrown["args"][0] == "--echo" and thrown["args"][2:] == ["--as=echoing", "--length=512"]


def test_the_new_engines_container_has_its_own_name_health_and_environment(thrown: dict) -> None:
    container = thrown["container"]
    assert (container["name"], container["args"]) == ("echo", list(thrown["args"]))
    assert container["readinessProbe"]["httpGet"]["path"] == "/alive"
    assert container["env"] == [{"name": "ECHO", "value": "1"}]


def test_both_halves_of_every_driver_agree() -> None:
    assert set(DRIVERS) == set(DRIVER_SETTINGS) <= set(EFFECTS)
    for name, driver in DRIVERS.items():
        assert driver.name == name
        assert driver.deployable == (EFFECTS[name] is not None), name


def test_every_engine_of_the_settings_is_registered() -> None:
    assert set(ENGINES) == {VllmModel.model_fields["engine"].default}


def test_the_docs_have_a_row_for_every_driver_and_engine() -> None:
    text = "\n".join(path.read_text() for path in sorted(Path(ROOT, "docs").rglob("*.md")))
    for name, entry in {**DRIVERS, **ENGINES}.items():
        assert f"| `{name}` | {entry.title} |" in text
