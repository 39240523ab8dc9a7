"""Which modules make Pulumi, in which versions and order, and where the programs are afterwards."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from host.artifacts import go_modules, pulumi_modules
from host.artifacts.go_modules import GoModule
from stacks.catalog import load
from stacks.errors import HostError
from tests.conftest import ROOT

GO = ROOT / "host" / "artifacts" / "go"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Takes the place of the builds; holds the programs of each."""
    done: list[list[str]] = []

    def build_together(modules: list[GoModule], cache: Path) -> list[Path]:
        done.append([name for module in modules for name in module.programs])
        targets = [go_modules._target(module, cache) for module in modules]
        for module, target in zip(modules, targets, strict=True):
            target.mkdir(parents=True, exist_ok=True)
            for name in module.programs:
                (target / name).write_text(module.recipe())
        return targets

    monkeypatch.setattr(go_modules, "build_together", build_together)
    return done


def test_what_is_needed_first_is_built_first(tmp_path: Path, compiled: list[list[str]]) -> None:
    assert pulumi_modules.built("cli", tmp_path) is None
    folder = pulumi_modules.build_cli(tmp_path)
    assert sorted(p.name for p in folder.iterdir()) == ["pulumi", "pulumi-language-python"]
    assert compiled == [["pulumi", "pulumi-language-python", "pulumi-resource-command"]]
    assert pulumi_modules.built("cli", tmp_path) == folder == pulumi_modules.build_cli(tmp_path)
    assert len(compiled) == 1

    assert pulumi_modules.built("command", tmp_path) == pulumi_modules.build_command(tmp_path)
    assert pulumi_modules.built("kubernetes", tmp_path) is None
    kubernetes = pulumi_modules.build_kubernetes(tmp_path)
    assert [p.name for p in kubernetes.iterdir()] == ["pulumi-resource-kubernetes"]
    assert pulumi_modules.built("kubernetes", tmp_path) == kubernetes


def test_a_new_language_host_does_not_make_the_cli_anew(
    tmp_path: Path, compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pulumi_modules.build_cli(tmp_path)
    changed = GoModule(
        GO / "pulumi", {"pulumi-language-python": "./language"}, "3.274.1", "-w", name="pulumi-language-python"
    )
    monkeypatch.setattr(pulumi_modules, "LANGUAGE_HOST", changed)
    new = pulumi_modules.build_cli(tmp_path)
    assert new != old
    assert (new / "pulumi").samefile(old / "pulumi")
    assert (new / "pulumi-language-python").read_text() == changed.recipe()


def test_a_failed_build_leaves_no_half_of_the_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_modules: list[GoModule], _cache: Path) -> list[Path]:
        raise HostError("no proxy")

    monkeypatch.setattr(go_modules, "build_together", fails)
    with pytest.raises(HostError, match="no proxy"):
        pulumi_modules.build_cli(tmp_path)
    assert pulumi_modules.built("cli", tmp_path) is None


def test_go_mod_holds_the_versions_that_are_said() -> None:
    version = f"v{pulumi_modules.CLI_VERSION}"
    for module in (pulumi_modules.CLI, pulumi_modules.LANGUAGE_HOST, pulumi_modules.COMMAND):
        for required in ("github.com/pulumi/pulumi/pkg/v3", "github.com/pulumi/pulumi/sdk/v3"):
            assert module.required(required) == version
    # the commit that carries the tag v4.25.0: the proxy does not serve the tag
    provider = pulumi_modules.KUBERNETES.required("github.com/pulumi/pulumi-kubernetes/provider/v4")
    assert provider == "v4.0.0-20260115033456-f47bc2d6f199"
    assert pulumi_modules.KUBERNETES_VERSION in pulumi_modules.KUBERNETES.ldflags
    stand_in = (GO / "pulumi-kubernetes" / "sdk" / "go.mod").read_text()
    assert f"sdk/v3 {pulumi_modules.KUBERNETES.required('github.com/pulumi/pulumi/sdk/v3')}\n" in stand_in


def test_the_command_plugin_takes_the_place_of_the_one_that_the_sdk_asks_for() -> None:
    assert metadata.version("pulumi-command") == pulumi_modules.COMMAND_VERSION
    wanted = json.loads(
        metadata.distribution("pulumi-command").locate_file("pulumi_command/pulumi-plugin.json").read_text()
    )
    assert wanted["version"] == pulumi_modules.COMMAND_VERSION


def test_the_embedded_cluster_s_plans_ask_for_the_provider_that_is_built() -> None:
    assert load().fact("embedded.kubernetesProvider").value == pulumi_modules.KUBERNETES_VERSION


def test_pulumi_s_own_script_is_taken_from_its_module_and_not_kept() -> None:
    ((where, (module, path)),) = pulumi_modules.LANGUAGE_HOST.embeds.items()
    assert (module, path) == ("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec")
    assert not (GO / "pulumi" / where).exists()
    embedded = re.search(r"^//go:embed (\S+)$", (GO / "pulumi" / "language" / "run.go").read_text(), re.MULTILINE)
    assert embedded and Path(where).name == embedded.group(1)


def test_it_can_be_built_by_hand(
    tmp_path: Path, compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pulumi_modules.main() == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [p.name for p in printed] == [
        "pulumi",
        "pulumi-language-python",
        "pulumi-resource-command",
        "pulumi-resource-kubernetes",
    ]
    assert all(p.is_relative_to(tmp_path / ".cache") for p in printed)
