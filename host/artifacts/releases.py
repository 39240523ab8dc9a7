"""Programs from their upstream releases: downloaded once, verified, unpacked. What is recorded is in releases.yaml."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from host.artifacts import download, go_modules
from host.system import files
from stacks.errors import HostError

_RECORDED = Path(__file__).with_name("releases.yaml")
# Hosts that could not be reached, with the reason: ten programs of one host do not wait ten times.
_unreachable: dict[str, str] = {}


class File(BaseModel):
    """One file of a release. `source` says where its checksum was read; `bytes` only where that source says it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str = Field(pattern=r"^https://[^/]+/.*[^/]$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    sha512: str | None = Field(None, pattern=r"^[0-9a-f]{128}$")
    size: int | None = Field(None, alias="bytes", gt=0)
    source: str

    @model_validator(mode="after")
    def _one_checksum(self) -> File:
        if (self.sha256 is None) == (self.sha512 is None):
            raise ValueError("exactly one of sha256 and sha512 is needed")
        return self

    def wanted(self, label: str) -> download.Wanted:
        """What to download, from the mirror where LAB_RELEASES_MIRROR names one."""
        algorithm: Literal["sha256", "sha512"] = "sha256" if self.sha256 else "sha512"
        return download.Wanted(_mirrored(self.url), algorithm, self.sha256 or self.sha512 or "", self.size, label)


_Files = Annotated[tuple[File, ...], BeforeValidator(lambda found: found if isinstance(found, list) else [found])]


class Release(BaseModel):
    """One version of a release: a file, or several, for each architecture.

    `take` maps paths in the archive to file names; without it the files are the programs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    take: dict[str, Annotated[str, Field(pattern=r"^[^/]+$")]] = {}
    amd64: _Files = ()
    arm64: _Files = ()

    @model_validator(mode="after")
    def _one_archive(self) -> Release:
        if self.take and max(len(self.amd64), len(self.arm64)) > 1:
            raise ValueError("`take` is for one archive")
        return self

    def files(self) -> tuple[File, ...]:
        """What this machine's architecture needs; nothing where it has no release."""
        return self.amd64 if go_modules.architecture() == "amd64" else self.arm64

    def key(self) -> str:
        """Twelve hex digits of all that decides what comes out; the addresses do not."""
        checksums = [(PurePosixPath(f.url).name, f.sha256 or f.sha512) for f in self.files()]
        return hashlib.sha256(repr((checksums, sorted(self.take.items()))).encode()).hexdigest()[:12]


@functools.cache
def recorded() -> dict[str, dict[str, Release]]:
    """All that releases.yaml holds: name -> version -> release."""
    document = yaml.safe_load(_RECORDED.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, dict[str, Release]]).validate_python(document)


def newest(name: str) -> str | None:
    """The newest recorded version of `name` for this machine, or None."""
    versions = [version for version, release in recorded().get(name, {}).items() if release.files()]
    return max(versions, key=lambda v: [int(n) for n in v.removeprefix("v").split(".")], default=None)


def obtained(name: str, version: str, cache: Path) -> Path | None:
    """The folder with the programs of a release if they are here already; asks no network."""
    release = recorded().get(name, {}).get(version)
    if release is None or not release.files():
        return None
    folder = _target(name, version, release, cache)
    return folder if folder.is_dir() else None


def obtain(name: str, version: str, cache: Path, *, instead: str = "but built from Go modules") -> Path | None:
    """The folder with the programs of a release, downloaded and verified now where they are missing.

    None, and one line on standard error, where none is recorded for this machine or its host cannot be reached;
    `instead` says there what is done then.
    Raises HostError where what came is not what was recorded.
    """
    if folder := obtained(name, version, cache):
        return folder
    release = recorded().get(name, {}).get(version)
    if release is None or not release.files():
        _say_without(name, version, instead, "no release with a known checksum is recorded")
        return None
    if os.environ.get("LAB_OFFLINE", "0") not in ("", "0"):
        _say_without(name, version, instead, "LAB_OFFLINE is set")
        return None
    target = _target(name, version, release, cache)
    with files.lock(target.with_name(f".{target.name}.lock"), what=f"the download of {name} {version}"):
        if target.is_dir():
            return target
        work = target.with_name(f".{target.name}.downloading")
        try:
            _download(release, version, work)
        except download.Unreachable as error:
            _say_without(name, version, instead, str(error))
            return None
        _finish(release, work, target)
    return target


def _download(release: Release, version: str, work: Path) -> None:
    """All files of a release, below `work`. Raises download.Unreachable and HostError."""
    work.mkdir(parents=True, exist_ok=True)
    for file in release.files():
        target = work / PurePosixPath(file.url).name
        if target.exists():  # it has this name since it was verified
            continue
        wanted = file.wanted(target.name if version.removeprefix("v") in target.name else f"{target.name} {version}")
        if reason := _unreachable.get(wanted.host):
            raise download.Unreachable(reason)
        try:
            download.fetch(wanted, target)
        except download.Unreachable as error:
            if error.whole_host:
                _unreachable[wanted.host] = str(error)
            raise


def _finish(release: Release, work: Path, target: Path) -> None:
    """Makes the folder of the programs from what was downloaded, in one step. Raises HostError."""
    programs = work
    if release.take:
        programs = work / "programs"
        shutil.rmtree(programs, ignore_errors=True)
        programs.mkdir()
        _extract(work / PurePosixPath(release.files()[0].url).name, release.take, programs)
    for program in programs.iterdir():
        program.chmod(0o755)
    programs.rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _extract(archive: Path, take: dict[str, str], programs: Path) -> None:
    """Writes the named members and nothing else. Raises HostError where one is missing or is no plain file."""
    missing = set(take)
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise HostError(f"{archive.name} is not used: its member {member.name} points out of it")
                if str(path) not in take:
                    continue
                content = opened.extractfile(member) if member.isreg() else None
                if content is None:
                    raise HostError(f"{archive.name} is not used: its member {member.name} is not a plain file")
                with content, (programs / take[str(path)]).open("wb") as program:
                    shutil.copyfileobj(content, program, 1 << 20)
                missing.discard(str(path))
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's trouble, not the archive's
        raise HostError(f"{archive.name} cannot be read as an archive: {error}") from None
    if missing:
        remedy = f"correct `take` in {_RECORDED.name}"
        raise HostError(f"{archive.name} holds no {', '.join(sorted(missing))}", remedy=remedy)


def _say_without(name: str, version: str, instead: str, reason: str) -> None:
    sys.stderr.write(f"! {name} {version} is not downloaded {instead}: {reason}\n")
    sys.stderr.flush()


def _target(name: str, version: str, release: Release, cache: Path) -> Path:
    return cache / "releases" / f"{name}-{version}-{release.key()}"


def _mirrored(url: str) -> str:
    """The address with scheme and host of LAB_RELEASES_MIRROR, where that is set. Raises HostError."""
    mirror = os.environ.get("LAB_RELEASES_MIRROR", "")
    if not mirror:
        return url
    try:
        parts = urlsplit(mirror)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise HostError(f"LAB_RELEASES_MIRROR={mirror} is no address", remedy="such as https://mirror.example.org")
    return mirror.rstrip("/") + urlsplit(url).path
