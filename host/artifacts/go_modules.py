"""Programs built from Go modules: once for each recipe, resumable, shared by everything on this machine that wants
them.

A build has caches of its own below the lab's cache, and they go when its programs are there: a module's cache takes
some GiB and is of no use afterwards. The person's own Go caches are never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from host.artifacts import go_budget, go_toolchain
from host.system import command, files
from host.system.progress import step
from stacks.errors import HostError

_BUILD_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 900.0
# Tied to us: the orphan of a killed run would go on building beside the next one.
_BESIDE_US = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "5")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class GoModule:
    """A folder with go.mod (and go.sum) of its own, and the programs to build there: name -> package.

    `embeds` are files that the build takes from other modules: where they go in the folder -> (module, path in it).
    `carries` are files of other modules that are put beside the programs, in the same form. `name` stands in the names
    of our folders; it is the folder's where it is not given.
    """

    folder: Path
    programs: dict[str, str]
    version: str
    ldflags: str = "-s -w"
    embeds: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    carries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.folder.name)

    def recipe(self) -> str:
        """Twelve hex digits of all that decides what comes out, the toolchain's patch release excepted."""
        return self.digest(architecture())[:12]

    def digest(self, machine: str) -> str:
        """The same whole, for a machine; for any, where it is the empty text."""
        digest = hashlib.sha256()
        for path in self._sources():
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(repr((self.programs, self.ldflags, machine)).encode())
        for others in (self.embeds, self.carries):
            if others:
                digest.update(repr(sorted(others.items())).encode())
        return digest.hexdigest()

    def required(self, module: str) -> str:
        """The version of `module` in go.mod. Raises HostError where it is not required."""
        found = re.search(
            rf"^(?:require )?\s*{re.escape(module)} (v\S+)",
            (self.folder / "go.mod").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        if not found:
            raise HostError(f"{self.folder}/go.mod does not require {module}")
        return found.group(1)

    def _sources(self) -> list[Path]:
        """go.mod, go.sum and the Go files; those of folders below only where one of the programs is ours."""
        ours = any(package.startswith(".") for package in self.programs.values())
        found = self.folder.rglob("*") if ours else self.folder.iterdir()
        return sorted(p for p in found if p.suffix in {".mod", ".sum", ".go"})


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

    A killed build goes on where it was: finished programs are kept beside the target, and the build's caches until the
    end. Raises HostError.
    """
    return build_together([module], cache)[0]


def build_together(modules: Sequence[GoModule], cache: Path) -> list[Path]:
    """Builds modules with much in common one after the other in the same caches; returns the folders of their programs.

    Raises HostError.
    """
    targets = [_target(module, cache) for module in modules]
    caches = cache / "go" / targets[0].name
    if caches.exists() or not all(target.is_dir() for target in targets):
        with _alone(caches, modules[0]):
            _drop_abandoned(caches, modules[0].name)
            for module, target in zip(modules, targets, strict=True):
                if not target.is_dir():
                    with _alone(target, module):
                        _build_module(module, target, caches, cache)
            shutil.rmtree(caches, ignore_errors=True)
    return targets


def _build_module(module: GoModule, target: Path, caches: Path, cache: Path) -> None:
    if target.is_dir():
        return
    go = go_toolchain.find(cache, minimum=_go_version(module))
    work = target.with_name(f".{target.name}.building")
    shutil.rmtree(caches / "tmp", ignore_errors=True)  # of a killed build
    for folder in (work, caches / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    source = _source(go, module, caches)
    for name, package in module.programs.items():
        if not (work / name).exists():
            _build_one(go, module, source, package, work / name, caches)
    for name, place in module.carries.items():
        shutil.copyfile(_file_of(go, place, source, caches), work / name)
    work.rename(target)


def _build_one(go: str, module: GoModule, source: Path, package: str, out: Path, caches: Path) -> None:
    temporary = out.with_name(f".{out.name}.partial")
    at_once = go_budget.parallel(out.name)
    what = f"building {out.name} {module.version}"
    words = [go, "build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", module.ldflags]
    with step(what), go_budget.ticking(what, go_budget.estimate(out.name, at_once)):
        command.run(
            [*_BESIDE_US, *words, "-o", temporary, package],
            timeout=_BUILD_SECONDS,
            cwd=source,
            environment=_environment(caches, at_once),
        )
    temporary.rename(out)


def _environment(caches: Path, at_once: int) -> dict[str, str]:
    """What Go is run with: nothing of the person's own settings but the module proxy, and temporary files on the disk
    of the cache.
    """
    return {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": f"-p={at_once} -modcacherw",
        "GOPATH": str(caches),
        "GOMODCACHE": str(caches / "mod"),
        "GOCACHE": str(caches / "build"),
        "GOTMPDIR": str(caches / "tmp"),
    }


def _source(go: str, module: GoModule, caches: Path) -> Path:
    """The folder to build in: a copy where files of other modules have to be put beside ours."""
    if not module.embeds:
        return module.folder
    source = caches / "source" / module.name
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(module.folder, source)
    for name, place in module.embeds.items():
        shutil.copyfile(_file_of(go, place, source, caches), source / name)
    return source


def _file_of(go: str, place: tuple[str, str], source: Path, caches: Path) -> Path:
    """A file of a module that go.mod requires, checked as any of them."""
    said = command.run(
        [go, "mod", "download", "-json", place[0]],
        timeout=_DOWNLOAD_SECONDS,
        cwd=source,
        environment=_environment(caches, 1),
    )
    return Path(json.loads(said.stdout)["Dir"]) / place[1]


@contextlib.contextmanager
def _alone(path: Path, module: GoModule) -> Iterator[None]:
    """Holds the lock of a folder; says so where another run has to be waited for."""
    lock, what = path.with_name(f".{path.name}.lock"), f"the build of {module.name} {module.version}"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock(lock, what=what, wait=False))
        except HostError:
            with step(f"waiting for {what} in another run"), go_budget.ticking(f"waiting for {what}"):
                stack.enter_context(files.lock(lock, what=what))
        yield


def _drop_abandoned(caches: Path, name: str) -> None:
    """Removes what killed builds of other recipes of the same module have left, unless somebody works there."""
    for other in _siblings(caches, name):
        with (
            contextlib.suppress(HostError),
            files.lock(other.with_name(f".{other.name}.lock"), what="an old build", wait=False),
        ):
            shutil.rmtree(other, ignore_errors=True)


def _siblings(caches: Path, name: str) -> Iterable[Path]:
    pattern = re.compile(rf"{re.escape(name)}-[^-]+-[0-9a-f]{{12}}")
    return [p for p in caches.parent.iterdir() if p != caches and p.is_dir() and pattern.fullmatch(p.name)]


def _target(module: GoModule, cache: Path) -> Path:
    return cache / "programs" / f"{module.name}-{module.version}-{module.recipe()}"


def _go_version(module: GoModule) -> tuple[int, ...]:
    found = re.search(r"^go ([0-9.]+)", (module.folder / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(int(n) for n in found.group(1).split(".")) if found else (1, 26)
