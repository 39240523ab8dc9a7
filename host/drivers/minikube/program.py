"""The minikube program: the planned version from PATH or the cache, downloaded and verified where it is in neither."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from host.artifacts import releases
from host.system import command
from stacks.errors import HostError

_CACHE = Path("~/.cache/local-ai-lab")
_PAGE = "https://github.com/kubernetes/minikube/releases/tag"


def find(version: str) -> Path | None:
    """The program in that version, if it is on this machine; asks no network."""
    on_path = shutil.which("minikube")
    if on_path and version_of(on_path) == version:
        return Path(on_path)
    return _in(releases.obtained("minikube", version, _CACHE.expanduser()))


def get(version: str) -> Path:
    """The program in that version, downloaded now where it is missing. Raises HostError."""
    if found := find(version):
        return found
    made = _in(releases.obtain("minikube", version, _CACHE.expanduser(), instead="and cannot be had here"))
    if made:
        return made
    on_path = shutil.which("minikube")
    has = f"minikube on PATH is {version_of(on_path) or 'another one'}" if on_path else "none is on PATH"
    raise HostError(
        f"minikube {version} is needed, and {has}",
        remedy=f"let this machine reach storage.googleapis.com (or set LAB_RELEASES_MIRROR), or put {_PAGE}/v{version} "
        "on PATH; then the same again",
    )


def version_of(program: str) -> str:
    """What the program says of itself, without the v; empty where it says nothing of the kind."""
    try:
        said = command.run([program, "version", "--short"], timeout=20, check=False).stdout
    except command.CommandFailed:
        return ""
    found = re.search(r"v?(\d+\.\d+\.\d+)", said)
    return found[1] if found else ""


def _in(folder: Path | None) -> Path | None:
    """The one program of a release's folder, whatever the architecture that its name has."""
    return next(iter(sorted(folder.glob("minikube-linux-*"))), None) if folder else None
