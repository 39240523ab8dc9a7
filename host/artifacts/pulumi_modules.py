"""Pulumi's CLI and plugins from their Go modules, for machines that reach package registries only (docs/adr/0010).

`python -m host.artifacts.pulumi_modules` builds all of it into the cache of the person who runs it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final, Literal

from host.artifacts import go_modules
from host.artifacts.go_modules import GoModule
from stacks import names
from stacks.errors import HostError

CLI_VERSION: Final = "3.274.1"
COMMAND_VERSION: Final = "1.2.1"
"""The release whose place the stand-in takes: the version that the Python SDK asks for."""
KUBERNETES_VERSION: Final = "4.25.0"
"""The newest release of the provider whose module can be had; docs/adr/0010 says why."""

Part = Literal["cli", "command", "kubernetes"]

_FOLDER = Path(__file__).with_name("go")
_SDK = "github.com/pulumi/pulumi/sdk/v3"
_CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3"
_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
_VERSIONED = f"-s -w -X {_SDK}/go/common/version.Version={CLI_VERSION}"

CLI: Final = GoModule(_FOLDER / "pulumi", {"pulumi": f"{_CLI_PACKAGE}/cmd/pulumi"}, CLI_VERSION, _VERSIONED)
LANGUAGE_HOST: Final = GoModule(
    _FOLDER / "pulumi",
    {"pulumi-language-python": "./language"},
    CLI_VERSION,
    _VERSIONED,
    embeds={"language/pulumi-language-python-exec": (_SDK, "python/cmd/pulumi-language-python-exec")},
    name="pulumi-language-python",
)
COMMAND: Final = GoModule(
    _FOLDER / "pulumi",
    {"pulumi-resource-command": "./command"},
    COMMAND_VERSION,
    f"-s -w -X main.version={COMMAND_VERSION}",
    name="pulumi-resource-command",
)
KUBERNETES: Final = GoModule(
    _FOLDER / "pulumi-kubernetes",
    {"pulumi-resource-kubernetes": "."},
    KUBERNETES_VERSION,
    f"-s -w -X {_PROVIDER}/pkg/version.Version={KUBERNETES_VERSION}",
    name="pulumi-resource-kubernetes",
)

MODULES: Final = (CLI, LANGUAGE_HOST, COMMAND, KUBERNETES)


def default_cache() -> Path:
    """The cache that the product uses for this person."""
    return Path("~/.cache").expanduser() / names.PART_OF


def built(part: Part, cache: Path) -> Path | None:
    """The folder of a part's finished programs, or None where they have to be built first."""
    if part == "cli":
        folder = _cli_folder(cache)
        return folder if folder.is_dir() else None
    return go_modules.built(COMMAND if part == "command" else KUBERNETES, cache)


def build_cli(cache: Path) -> Path:
    """The folder with `pulumi` and `pulumi-language-python`, built now where it is missing. Raises HostError.

    The command plugin is made along with them: most of what it needs is compiled then, and nothing of it afterwards.
    """
    if found := built("cli", cache):
        return found
    cli, language, _ = go_modules.build_together([CLI, LANGUAGE_HOST, COMMAND], cache)
    target = _cli_folder(cache)
    work = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for program in (*cli.iterdir(), *language.iterdir()):
        os.link(program, work / program.name)
    try:
        work.rename(target)
    except OSError:  # another run was faster
        shutil.rmtree(work)
    return target


def build_command(cache: Path) -> Path:
    """The folder with `pulumi-resource-command`, built now where it is missing. Raises HostError."""
    return go_modules.build(COMMAND, cache)


def build_kubernetes(cache: Path) -> Path:
    """The folder with `pulumi-resource-kubernetes`, built now where it is missing. Raises HostError."""
    return go_modules.build(KUBERNETES, cache)


def _cli_folder(cache: Path) -> Path:
    """One folder for both programs, each of which is built again only where its own recipe has changed."""
    return cache / "programs" / f"pulumi-cli-{CLI_VERSION}-{CLI.recipe()}-{LANGUAGE_HOST.recipe()}"


def main() -> int:
    """Builds everything and prints where it is; returns the exit code."""
    cache = default_cache()
    try:
        for build in (build_cli, build_command, build_kubernetes):
            for program in sorted(build(cache).iterdir()):
                sys.stdout.write(f"{program}\n")
    except HostError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
