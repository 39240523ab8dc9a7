"""Pulumi's CLI and plugins: the person's own where they are new enough, else ours in the cache, from releases or from
Go modules.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from host.artifacts import pulumi_modules, releases
from host.system import command, files
from host.system.progress import step
from stacks.errors import HostError

OLDEST: Final = (3, 238, 0)
"""The oldest CLI that is driven: `requiredPulumiVersion` in Pulumi.yaml says the same."""

_LANGUAGE_HOST = "pulumi-language-python"
_HOW = (
    "it comes into the cache, from its release (about 200 MB), or from Go modules where that cannot be reached "
    "(about 10 minutes on 2 cores)"
)
_VERSION_SECONDS = 30.0
_INSTALL_SECONDS = 900.0


@dataclass(frozen=True)
class Pulumi:
    """A CLI that can be used. `home` is its PULUMI_HOME, None for the person's own."""

    program: Path
    home: Path | None
    version: str
    origin: Literal["PATH", "release", "modules"]

    def environment(self) -> dict[str, str]:
        """What must be set for it, beside the stack's own settings."""
        found = {"PULUMI_SKIP_UPDATE_CHECK": "true"}
        if self.home is not None:
            path = os.environ.get("PATH", os.defpath)
            folder = str(self.program.parent)
            found |= {
                "PULUMI_HOME": str(self.home),
                "PATH": path if path.startswith(folder) else f"{folder}{os.pathsep}{path}",
            }
        # the release host cannot be reached: a missing plugin is an error at once, and not after a minute
        if self.origin == "modules":
            found["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
        return found


def find(cache: Path, plugins: Mapping[str, str]) -> Pulumi | None:
    """A CLI with these plugins (name -> version) that is there already, or None; asks no network."""
    if (own := _on_path(cache)) and _lacks(_home_of(own), plugins) == {}:
        return own
    ours = _in_cache(cache)
    return ours if ours and _lacks(_home_of(ours), plugins) == {} else None


def get(cache: Path, plugins: Mapping[str, str]) -> Pulumi:
    """A CLI with these plugins, downloaded or built now where it is missing. Raises HostError."""
    if found := find(cache, plugins):
        return found
    sys.stderr.write(f"Pulumi, or a plugin that the stack needs, is not here yet: {_HOW}\n")
    with files.lock(cache / ".pulumi.lock", what="getting Pulumi"):
        cli = _on_path(cache) or _in_cache(cache) or _make_cli(cache)
        for name, version in _lacks(_home_of(cli), plugins).items():
            _place_plugin(cli, name, version, cache)
    return cli


def _on_path(cache: Path) -> Pulumi | None:
    """The person's own CLI with its language host, if it is new enough."""
    path = os.pathsep.join(
        p for p in os.environ.get("PATH", "").split(os.pathsep) if p and not Path(p).is_relative_to(cache)
    )
    program = shutil.which("pulumi", path=path)
    if program is None:
        return None
    beside = Path(program).resolve().with_name(_LANGUAGE_HOST)
    if not (beside.exists() or shutil.which(_LANGUAGE_HOST, path=path)):
        return None
    try:
        said = command.run(
            [program, "version"], timeout=_VERSION_SECONDS, environment={"PULUMI_SKIP_UPDATE_CHECK": "true"}
        ).stdout
    except command.CommandFailed:
        return None
    version = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said.strip())
    if version is None or tuple(int(n) for n in version.groups()) < OLDEST:
        return None
    return Pulumi(Path(program), None, version.group(0).removeprefix("v"), "PATH")


def _in_cache(cache: Path) -> Pulumi | None:
    home = cache / "pulumi"
    try:
        note = json.loads((home / "cli.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"release": releases.newest("pulumi"), "modules": pulumi_modules.CLI_VERSION}
    program = home / "bin" / "pulumi"
    if not program.exists() or note.get("version") != wanted.get(note.get("origin")):
        return None
    return Pulumi(program, home, str(note["version"]), note["origin"])


def _make_cli(cache: Path) -> Pulumi:
    home, origin, version = cache / "pulumi", "release", releases.newest("pulumi")
    folder = releases.obtain("pulumi", version, cache) if version else None
    if folder is None:
        origin, version, folder = "modules", pulumi_modules.CLI_VERSION, pulumi_modules.build_cli(cache)
    for program in sorted(folder.iterdir()):
        _link(program, home / "bin" / program.name)
    files.write_atomic(home / "cli.json", json.dumps({"version": version, "origin": origin}))
    made = _in_cache(cache)
    if made is None:
        raise HostError(
            f"{home} does not hold the Pulumi CLI that was just made",
            remedy=f"rm -rf {home}, and run the same command again",
        )
    return made


def _home_of(pulumi: Pulumi) -> Path:
    return pulumi.home or Path(os.environ.get("PULUMI_HOME") or "~/.pulumi").expanduser()


def _lacks(home: Path, plugins: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in plugins.items() if not _plugin(home, name, version).exists()}


def _plugin(home: Path, name: str, version: str) -> Path:
    return home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"


def _place_plugin(cli: Pulumi, name: str, version: str, cache: Path) -> None:
    """Puts a plugin where the CLI looks for it: its recorded release, else what the CLI itself installs, else one from
    Go modules.
    """
    target = _plugin(_home_of(cli), name, version)
    folder = releases.obtain(f"pulumi-resource-{name}", version, cache)
    if folder is None:
        if cli.origin != "modules" and _installs(cli, name, version):
            return
        built = {"command": pulumi_modules.COMMAND_VERSION, "kubernetes": pulumi_modules.KUBERNETES_VERSION}[name]
        folder = {"command": pulumi_modules.build_command, "kubernetes": pulumi_modules.build_kubernetes}[name](cache)
        if built != version:  # previews the same; the engine warns of it in each run
            sys.stderr.write(
                f"! Pulumi's {name} provider {version} cannot be had here: {built}, built from its Go module, takes "
                f"its place\n"
            )
    _link(folder / target.name, target)


def _installs(cli: Pulumi, name: str, version: str) -> bool:
    """Whether the CLI can install the plugin from where Pulumi publishes it."""
    try:
        with step(f"Pulumi's plugin {name} {version}"):
            words = [str(cli.program), "plugin", "install", "resource", name, version]
            command.run(words, timeout=_INSTALL_SECONDS, environment=cli.environment())
    except command.CommandFailed:
        return False
    return True


def _link(program: Path, target: Path) -> None:
    """The same file under another name, so that it stands on the disk once; a copy where the file system cannot
    link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(program, temporary)
    except OSError:
        shutil.copy2(program, temporary)
    temporary.replace(target)
