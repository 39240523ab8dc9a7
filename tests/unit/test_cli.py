"""The command line as a user meets it: through the launcher, in a process of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from cli.commands import check, status, up
from cli.commands.env import prepare
from cli.commands.schema import document
from host import __main__ as host
from host.drivers import DRIVERS
from stacks.errors import LabError
from tests.support.stacks import ROOT, STACKS

pytestmark = pytest.mark.long  # a process a test

LAB = ROOT / "lab"


def _lab(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAB, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


def test_help_names_the_commands() -> None:
    done = _lab("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: lab ") or "Usage: lab [OPTIONS] COMMAND" in done.stdout
    for command in (
        "plan",
        "preview",
        "up",
        "down",
        "refresh",
        "pulumi",
        "validate",
        "schema",
        "review",
        "env",
        "test",
    ):
        assert command in done.stdout


def test_a_plan_works_from_any_folder_with_no_tools_at_all(tmp_path: Path) -> None:
    bare = {"PATH": "/usr/bin:/bin", "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = _lab("plan", "dev", env=bare, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gemma-3-270m" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_manifests_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    done = _lab("plan", "dev", "--manifests", str(tmp_path / "out"))
    assert done.returncode == 0
    kinds = [yaml.safe_load(p.read_text())["kind"] for p in sorted((tmp_path / "out").iterdir())]
    assert kinds.index("Namespace") < kinds.index("Deployment")
    assert sorted(kinds) == sorted([
        "Namespace", "NetworkPolicy", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
        "ConfigMap", "ServiceAccount", "NetworkPolicy", "Deployment", "Service",
        "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "Deployment", "Service",
    ])  # fmt: skip


def test_an_unknown_stack_names_the_known_ones() -> None:
    done = _lab("preview", "nope")
    assert done.returncode == 2
    assert "there is no stack file Pulumi.nope.yaml" in done.stderr
    assert ", ".join(STACKS) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_error_as_json_has_its_kind_and_its_remedy() -> None:
    done = _lab("preview", "nope", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["message"] and error["remedy"]


@pytest.mark.parametrize("line", ["fit --json", "what-if --context abc --json", "preview --json rtx2060 too-much"])
def test_a_wrong_command_line_is_json_too_where_that_is_asked_for(line: str) -> None:
    done = _lab(*line.split())
    assert (done.returncode, done.stderr) == (2, "")
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "UsageError" and error["message"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{LAB}' gpus --json {closed}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (">&-" in closed.replace("2>&-", "")) == (done.stdout == "")


def test_a_full_disk_is_one_line() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{LAB}' gpus >/dev/full"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_a_stream_that_knows_only_ascii_gets_question_marks() -> None:
    done = _lab("plan", "rtx2060", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "??????" in done.stdout


@pytest.mark.parametrize(
    "line", ["plan dev --svg /no/such/folder/plan.svg", "review --base HEAD --output /no/such/folder/review.md"]
)
def test_a_file_that_cannot_be_written_is_wrong_input(line: str) -> None:
    done = _lab(*line.split())
    assert done.returncode == 2
    assert "/no/such/folder" in done.stderr and "name a file" in done.stderr


def test_validate_says_ok_for_every_shipped_stack() -> None:
    done = _lab("validate", "--json")
    assert done.returncode == 0
    assert {name: result["ok"] for name, result in json.loads(done.stdout).items()} == dict.fromkeys(STACKS, True)


def test_the_schema_is_up_to_date_and_takes_the_shipped_stacks() -> None:
    assert _lab("schema", "--check").returncode == 0
    schema = document()
    jsonschema.Draft202012Validator.check_schema(schema)
    for stack in STACKS:
        jsonschema.validate(yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text()), schema)


def test_the_schema_refuses_what_settings_refuse() -> None:
    bad = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    bad["config"]["local-ai-lab:machine"]["colour"] = "green"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, document())


def test_every_setting_is_described_for_editors() -> None:
    for name, definition in document()["$defs"].items():
        for key, field in definition["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def _own_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    import pwd

    entry = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd((*entry[:5], str(home), entry[6])))
    monkeypatch.setenv("HOME", str(home))


def test_env_makes_a_private_passphrase_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _own_home(monkeypatch, tmp_path)
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    first = prepare(ROOT)
    text = first.read_text()
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert len(text.strip()) >= 40
    assert (tmp_path / ".local/state/local-ai-lab/pulumi").is_dir()
    assert prepare(ROOT).read_text() == text


def test_env_refuses_a_passphrase_that_others_can_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _own_home(monkeypatch, tmp_path)
    prepare(ROOT).chmod(0o644)
    with pytest.raises(LabError, match="can be read by others"):
        prepare(ROOT)


def test_env_never_prints_the_passphrase(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.commands import env
    from host.artifacts.pulumi import Pulumi

    _own_home(monkeypatch, tmp_path)
    cli = Pulumi(tmp_path / "cache/pulumi/bin/pulumi", tmp_path / "cache/pulumi", "3.274.1", "modules")
    monkeypatch.setattr(env, "_pulumi", lambda _root: cli)
    env.run(ROOT)
    out = capsys.readouterr().out
    assert f"export PULUMI_CONFIG_PASSPHRASE_FILE={tmp_path}/.local/state/local-ai-lab/passphrase\n" in out
    assert f'export PATH={tmp_path}/cache/pulumi/bin:"$PATH"\n' in out
    assert f"export PULUMI_HOME={tmp_path}/cache/pulumi\n" in out
    assert (tmp_path / ".local/state/local-ai-lab/passphrase").read_text().strip() not in out


@pytest.mark.parametrize("verb", ["ensure", "status", "destroy"])
def test_a_driver_that_is_not_implemented_says_so(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DRIVERS, "paper", None)
    assert host.main(["paper", verb]) == 1
    said = capsys.readouterr().err
    assert "driver paper is not implemented in this version" in said
    assert "./lab plan" in said


def test_a_wrong_host_call_shows_the_frozen_entry() -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "host", "magic"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert f"python -m host {{{'|'.join(DRIVERS)}}} {{ensure|status|destroy}}" in done.stderr


def _deployed(command: str) -> Callable[[], None]:
    """The command in this process, with the arguments that would make it work."""
    return {
        "up": lambda: up.run(ROOT, "rtx2060", yes=True, as_json=True),
        "check": lambda: check.run(ROOT, "rtx2060", as_json=True),
        "status": lambda: status.run(ROOT, "rtx2060", as_json=True),
    }[command]


@pytest.mark.parametrize("command", ["up", "check", "status"])
def test_a_driver_that_is_not_implemented_is_said_before_anything_else(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.deployed.deployable", lambda _driver: False)
    with pytest.raises(LabError, match="driver minikube is not implemented in this version") as raised:
        _deployed(command)()
    assert raised.value.exit_code == 2
    assert "./lab plan rtx2060" in raised.value.remedy


@pytest.mark.parametrize("command", ["up", "check", "status"])
def test_root_is_told_before_anything_else_that_minikube_refuses_it(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host.drivers.minikube.driver.os.geteuid", lambda: 0)
    with pytest.raises(LabError, match="minikube's Docker driver refuses root") as raised:
        _deployed(command)()
    assert raised.value.exit_code == 2
    assert raised.value.remedy.endswith("./lab up rtx2060")


@pytest.mark.parametrize("command", ["up", "down", "check", "status", "refresh"])
def test_a_command_that_touches_a_machine_needs_a_stack(command: str) -> None:
    done = _lab(command)
    assert done.returncode == 2
    assert "no stack was named" in done.stderr
    assert "./lab up dev" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"'{LAB}' gpus | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_version_is_the_projects() -> None:
    assert f'version = "{_lab("--version").stdout.split()[1]}"' in (ROOT / "pyproject.toml").read_text()
