"""What a change touches: git's view of it, and the stacks that it concerns."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host.system import command
from stacks.errors import LabError

if TYPE_CHECKING:
    from subprocess import CompletedProcess

_PROGRAM_FOLDERS = ("stacks/", "components/", "host/", "probes/", "catalog/")
_PROGRAM_FILES = frozenset({"__main__.py", "Pulumi.yaml", "requirements.txt"})
_STACK_FILE = re.compile(r"Pulumi\.([A-Za-z0-9_.-]+)\.yaml")
_GIT_SECONDS = 120


@dataclass(frozen=True)
class Change:
    """The commit where the work left the base, and the files that differ from it, as paths from the project's
    folder.
    """

    fork_point: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Touched:
    """The stacks to plan, those whose file is gone, and whether every stack is there because the program changed."""

    stacks: tuple[str, ...]
    removed: tuple[str, ...]
    program: bool


def changed_since(root: Path, base: str) -> Change:
    """What differs between the working tree and its merge base with `base`, new files that git does not ignore
    included.

    Raises LabError where this is no repository, `base` is no revision of it, or the two have no common history here.
    """
    inside = git(root, "rev-parse", "--is-inside-work-tree")
    if inside.stdout.strip() != b"true":
        said = f"git sees no repository here: {_first_line(inside.stderr) or 'no work tree'}"
        raise LabError(said, remedy="work in a git clone; without one, type: ./lab validate")
    found = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if found.returncode:
        raise LabError(
            f"git knows no revision {base!r}",
            remedy="type: git fetch origin, or name another: ./lab review --base REVISION",
        )
    common = git(root, "merge-base", found.stdout.decode().strip(), "HEAD")
    if common.returncode:
        raise LabError(
            f"{base!r} and the checked-out commit have no common history here",
            remedy="a shallow clone lacks it; type: git fetch --unshallow origin (in GitHub Actions: fetch-depth: 0)",
        )
    fork_point = common.stdout.decode().strip()
    listings = (
        git(root, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", fork_point, "--"),
        git(root, "ls-files", "--others", "--exclude-standard", "-z"),
    )
    for listing in listings:
        if listing.returncode:
            raise LabError(
                f"git cannot list the changed files: {_first_line(listing.stderr)}", remedy="type: git status"
            )
    names = {os.fsdecode(name) for listing in listings for name in listing.stdout.split(b"\0") if name}
    return Change(fork_point, tuple(sorted(names)))


def touched_stacks(files: Iterable[str], existing: Sequence[str]) -> Touched:
    """The stacks that a change of `files` concerns, `existing` being those that have a file now."""
    names = {match.group(1) for file in files if (match := _STACK_FILE.fullmatch(file))}
    program = any(file in _PROGRAM_FILES or file.startswith(_PROGRAM_FOLDERS) for file in files)
    stacks = [stack for stack in existing if program or stack in names]
    return Touched(tuple(stacks), tuple(sorted(names - set(existing))), program)


def git(root: Path, *arguments: str) -> CompletedProcess[bytes]:
    """Runs git in the project's folder, taking no lock. Raises LabError where there is no git or it does not answer."""
    program = shutil.which("git")
    if program is None:
        raise LabError(
            "there is no git here", remedy="type: sudo apt-get install git; without git, type: ./lab validate"
        )
    surroundings = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        return command.output([program, *arguments], timeout=_GIT_SECONDS, cwd=root, environment=surroundings)
    except command.CommandFailed:
        said = f"git {arguments[0]} gave no answer within {_GIT_SECONDS} seconds"
        raise LabError(said, remedy="type: git status, and see what it waits for") from None


def _first_line(text: bytes) -> str:
    return next(iter(text.decode(errors="replace").strip().splitlines()), "")
