"""Where the Pulumi CLI and its plugins come from, in order: PATH, the cache, a release, Go modules. Strict stand-ins
give what would be fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from host.artifacts import pulumi, pulumi_modules, releases

PLUGINS = {"command": "1.2.1", "kubernetes": "4.25.0"}
MODULES = pulumi_modules.CLI_VERSION


def _cli(path: Path, version: str, install: str = "exit 1") -> Path:
    """A CLI that knows its version and `plugin install`, which runs `install`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncase "$1" in version) echo v{version};; plugin) {install};; *) exit 9;; esac\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[tuple[str, str], Path]:
    """What releases hold and modules build: name and version -> folder. Asking for anything else is an error of the
    test.
    """
    found: dict[tuple[str, str], Path] = {}

    def made(name: str, version: str) -> Callable[[Path], Path]:
        return lambda _cache: found[name, version]

    monkeypatch.setattr(releases, "obtain", lambda name, version, _cache: found.get((f"release {name}", version)))
    monkeypatch.setattr(releases, "newest", lambda _name: "3.268.0")
    monkeypatch.setattr(pulumi_modules, "build_cli", made("built pulumi", MODULES))
    monkeypatch.setattr(pulumi_modules, "build_command", made("built command", "1.2.1"))
    monkeypatch.setattr(pulumi_modules, "build_kubernetes", made("built kubernetes", "4.25.0"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    return found


def _folder(tmp_path: Path, name: str, *programs: str, version: str = "") -> Path:
    folder = tmp_path / name
    for program in programs:
        _cli(folder / program, version)
    return folder


def _released(tmp_path: Path, sources: dict[tuple[str, str], Path]) -> None:
    sources["release pulumi", "3.268.0"] = _folder(
        tmp_path, "r-cli", "pulumi", "pulumi-language-python", version="3.268.0"
    )
    sources["release pulumi-resource-command", "1.2.1"] = _folder(tmp_path, "r-command", "pulumi-resource-command")
    sources["release pulumi-resource-kubernetes", "4.25.0"] = _folder(
        tmp_path, "r-kubernetes", "pulumi-resource-kubernetes"
    )


def _built(tmp_path: Path, sources: dict[tuple[str, str], Path]) -> None:
    sources["built pulumi", MODULES] = _folder(tmp_path, "b-cli", "pulumi", "pulumi-language-python", version=MODULES)
    sources["built command", "1.2.1"] = _folder(tmp_path, "b-command", "pulumi-resource-command")
    sources["built kubernetes", "4.25.0"] = _folder(tmp_path, "b-kubernetes", "pulumi-resource-kubernetes")


def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, install: str = "exit 1") -> Path:
    folder = tmp_path / "own"
    _cli(folder / "pulumi", version, install)
    _cli(folder / "pulumi-language-python", version)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_nothing_is_found_where_nothing_is(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    assert pulumi.find(tmp_path / "cache", PLUGINS) is None


def test_a_release_comes_first_and_is_put_into_a_home_of_its_own(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    _released(tmp_path, sources)
    cache = tmp_path / "cache"
    cli = pulumi.get(cache, PLUGINS)
    assert (cli.origin, cli.version, cli.home) == ("release", "3.268.0", cache / "pulumi")
    assert (cache / "pulumi/plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes").samefile(
        tmp_path / "r-kubernetes/pulumi-resource-kubernetes"
    )
    environment = cli.environment()
    assert environment["PULUMI_HOME"] == str(cache / "pulumi")
    assert environment["PATH"].startswith(f"{cache}/pulumi/bin{os.pathsep}")
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in environment
    sources.clear()  # from now on nothing may be asked for
    assert pulumi.get(cache, PLUGINS) == cli


def test_without_a_release_it_is_built_and_looks_for_no_plugin_in_the_network(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    _built(tmp_path, sources)
    cli = pulumi.get(tmp_path / "cache", PLUGINS)
    assert (cli.origin, cli.version) == ("modules", MODULES)
    assert cli.environment()["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"
    assert pulumi.find(tmp_path / "cache", PLUGINS) == cli
    assert pulumi.find(tmp_path / "cache", {"kubernetes": "4.34.2"}) is None


def test_a_provider_that_cannot_be_had_is_replaced_by_the_one_that_can_and_that_is_said(
    sources: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _built(tmp_path, sources)
    cli = pulumi.get(tmp_path / "cache", {"kubernetes": "4.34.2"})
    assert (tmp_path / "cache/pulumi/plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes").exists()
    assert "kubernetes provider 4.34.2 cannot be had here: 4.25.0" in capsys.readouterr().err
    assert pulumi.find(tmp_path / "cache", {"kubernetes": "4.34.2"}) == cli


def test_a_released_cli_installs_a_plugin_that_is_not_recorded_by_itself(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    _released(tmp_path, sources)
    place = '"$PULUMI_HOME/plugins/resource-$4-v$5"'
    _cli(tmp_path / "r-cli/pulumi", "3.268.0", f'mkdir -p {place}; touch {place}/pulumi-resource-"$4"')
    cli = pulumi.get(tmp_path / "cache", {"kubernetes": "4.34.2"})
    assert pulumi.find(tmp_path / "cache", {"kubernetes": "4.34.2"}) == cli


def test_the_persons_own_cli_is_used_with_its_own_home(
    sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _own(tmp_path, monkeypatch, "3.250.0")
    _released(tmp_path, sources)
    cli = pulumi.get(tmp_path / "cache", PLUGINS)
    assert (cli.program, cli.home, cli.origin) == (folder / "pulumi", None, "PATH")
    assert "PULUMI_HOME" not in cli.environment()
    assert (Path.home() / ".pulumi/plugins/resource-command-v1.2.1/pulumi-resource-command").exists()
    assert not (tmp_path / "cache/pulumi/bin").exists()


@pytest.mark.parametrize("version", ["3.237.9", "2.99.0", "nonsense"])
def test_a_cli_that_is_too_old_is_not_used(
    version: str, sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _own(tmp_path, monkeypatch, version)
    _released(tmp_path, sources)
    assert pulumi.get(tmp_path / "cache", PLUGINS).origin == "release"


def test_a_cli_without_its_language_host_is_not_used(
    sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_own(tmp_path, monkeypatch, "3.250.0") / "pulumi-language-python").unlink()
    _released(tmp_path, sources)
    assert pulumi.get(tmp_path / "cache", PLUGINS).origin == "release"


def test_our_own_cli_on_path_is_not_taken_for_the_persons(
    sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _released(tmp_path, sources)
    first = pulumi.get(tmp_path / "cache", PLUGINS)
    monkeypatch.setenv("PATH", f"{first.program.parent}:/usr/bin:/bin")  # as `lab env` does
    assert pulumi.get(tmp_path / "cache", PLUGINS) == first


def test_a_newly_pinned_version_takes_the_place_of_the_older_one(
    sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _released(tmp_path, sources)
    pulumi.get(tmp_path / "cache", PLUGINS)
    monkeypatch.setattr(releases, "newest", lambda _name: "3.300.0")
    assert pulumi.find(tmp_path / "cache", PLUGINS) is None
    sources["release pulumi", "3.300.0"] = _folder(
        tmp_path, "newer", "pulumi", "pulumi-language-python", version="3.300.0"
    )
    assert pulumi.get(tmp_path / "cache", PLUGINS).version == "3.300.0"


def test_the_oldest_version_is_the_one_that_the_project_requires(root: Path) -> None:
    assert f'requiredPulumiVersion: ">={".".join(map(str, pulumi.OLDEST))}"' in (root / "Pulumi.yaml").read_text()
