"""Handing a stack over to the Pulumi CLI, and what the real CLI says to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import EngineError, RefusedError, SecretsManager, export, mark_handed_over
from tests.conftest import ROOT
from tests.engine.apply_support import HEAD, PASSPHRASE, SECRETS, World

SECRET = "hunter2-very-secret"
PROGRAM = HEAD + """
key = config.require_secret("secretKey")
class Box(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("shop:a:Box", "box")
        self.inner = local.Command("inner", create="echo made", update="echo changed", delete="true", environment={"KEY": key, "X": config.get("x") or "1"},
                                   opts=Opts(parent=self, custom_timeouts=pulumi.CustomTimeouts(create="5m")))
        self.register_outputs({"key": key, "numbers": [1, 1.5]})
box = Box()
check = local.Command("check", create="printf 'a\\n\\n'", triggers=["1", key], opts=Opts(depends_on=[box], deleted_with=box.inner))
local.Command("idle", update="true")
k8s.Provider("cluster", kubeconfig="none", cluster_identifier="one", enable_secret_mutable=True, opts=Opts(depends_on=[check]))
pulumi.export("said", check.stdout)
pulumi.export("key", key)
"""  # fmt: skip
CONFIG = {"secretKey": SECRET}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def _opened(document: dict[str, Any], manager: SecretsManager) -> str:
    environment = next(item for item in document["deployment"]["resources"] if item["urn"].endswith("::inner"))["inputs"]["environment"]
    return str(json.loads(manager.decrypt(environment["KEY"]["ciphertext"])))


def test_the_exported_secrets_are_encrypted_for_the_stack_file(world: World) -> None:
    assert world.up(PROGRAM, config=CONFIG).ok
    theirs = SecretsManager(PASSPHRASE)
    document = export(world.state, theirs.salt, SECRETS)
    assert document["deployment"]["secrets_providers"]["state"]["salt"] == theirs.salt
    assert _opened(document, theirs) == SECRET
    assert SECRET not in json.dumps(document)


def test_with_the_same_salt_nothing_is_encrypted_anew(world: World) -> None:
    world.up(PROGRAM, config=CONFIG)
    assert export(world.state, SECRETS.salt, SECRETS)["deployment"]["resources"] == world.deployment()["resources"]


def test_after_the_hand_over_the_engine_refuses_the_stack(world: World) -> None:
    world.up(PROGRAM, config=CONFIG)
    mark_handed_over(world.state)
    for attempt in (lambda: world.up(config=CONFIG), world.down):
        with pytest.raises(RefusedError, match="was handed over to the Pulumi CLI") as caught:
            attempt()
        assert caught.value.exit_code == 2
    assert export(world.state, SECRETS.salt, SECRETS)["version"] == 3


def test_an_interrupted_state_is_not_handed_over(world: World) -> None:
    world.up(PROGRAM, config=CONFIG)
    document = json.loads(world.state.read_text())
    document["deployment"]["pending_operations"] = [{"resource": document["deployment"]["resources"][-1], "type": "updating"}]
    world.state.write_text(json.dumps(document))
    with pytest.raises(EngineError, match="interrupted"):
        export(world.state, SECRETS.salt, SECRETS)


def test_without_a_state_there_is_nothing_to_hand_over(world: World) -> None:
    with pytest.raises(EngineError, match="no state"):
        export(world.state, SECRETS.salt, SECRETS)


def test_an_interrupted_update_is_done_again_though_nothing_changed(world: World) -> None:
    world.up(PROGRAM, config=CONFIG)
    document = json.loads(world.state.read_text())
    inner = next(item for item in document["deployment"]["resources"] if item["urn"].endswith("::inner"))
    document["deployment"]["pending_operations"] = [{"resource": inner, "type": "updating"}]
    world.state.write_text(json.dumps(document))
    result = world.up(config=CONFIG)
    assert result.summary["update"] == 1
    assert world.recorded()["inner"]["outputs"]["stdout"] == "changed"
    assert not world.up(config=CONFIG).changed


def _pulumi(world: World, *arguments: str) -> str:
    folder = world.folder / "cli"
    (folder / "state").mkdir(parents=True, exist_ok=True)
    environment = {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PULUMI_HOME", "HOME")},
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}", "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }  # fmt: skip
    command = ["pulumi", *arguments, "--non-interactive", "-s", "test"]
    done = subprocess.run(command, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.engine
@pytest.mark.skipif(not shutil.which("pulumi"), reason="the real Pulumi CLI is not on PATH")
def test_the_real_cli_goes_on_without_a_difference_and_back(world: World) -> None:
    assert world.up(PROGRAM, config=CONFIG).ok
    runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(ROOT / ".venv")}}
    (world.folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "shop", "runtime": runtime}))
    _pulumi(world, "stack", "init")
    _pulumi(world, "config", "set", "--secret", "secretKey", SECRET)
    salt = yaml.safe_load((world.folder / "Pulumi.test.yaml").read_text())["encryptionsalt"]
    (world.folder / "export.json").write_text(json.dumps(export(world.state, salt, SECRETS)))
    _pulumi(world, "stack", "import", "--file", "export.json")
    assert SECRET in _pulumi(world, "stack", "export", "--show-secrets")
    steps = json.loads(_pulumi(world, "preview", "--json"))
    assert steps["changeSummary"] == {"same": 6}
    _pulumi(world, "config", "set", "x", "2")
    _pulumi(world, "up", "--yes", "--skip-preview")
    world.state.write_text(_pulumi(world, "stack", "export"))
    result = world.up(config={**CONFIG, "x": "2"})
    assert (result.ok, result.summary) == (True, {"same": 6})
    assert world.recorded()["inner"]["outputs"]["stdout"] == "changed"
