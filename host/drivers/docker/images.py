"""The images of a stack in Docker's store: pulled once, or loaded from what the image builder keeps.

A built image's layer is kept as files, not as an archive. It is handed over as the archive format of `docker save`,
which every Docker reads, and made while it is read: nothing of it stands on the disk twice but in Docker's store.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator

import httpx

from host.artifacts.images import ensure_image
from host.artifacts.images.oci import Image
from host.drivers.docker.observe import Thing
from host.system import command
from host.system.progress import step
from probes.docker_api import DockerApi, said
from stacks.errors import CheckFailed, HostError

_LOAD_SECONDS = 1800.0
_PULL_SECONDS = 4 * 3600.0  # 12 GB at 10 Mbit/s are three hours
_BLOCK = 1 << 20


def ensure(api: DockerApi, reference: str, policy: str, found: Thing | None) -> bool:
    """Docker has the image afterwards; False where it had it before. `policy` is compose's: never, missing. Raises
    HostError.
    """
    if policy == "never":
        return _ensure_built(api, reference, found)
    if found is not None:
        return False
    with step(f"pulling {reference}"):
        _pull(api, reference)
    return True


def _ensure_built(api: DockerApi, reference: str, found: Thing | None) -> bool:
    image = ensure_image(reference)
    if found is not None and (found.get("RootFS") or {}).get("Layers") == [image.chain()]:
        return False
    image.require_files()
    with step(f"loading {reference} into Docker"):
        answer = api.request(
            "POST", "/images/load", params={"quiet": "true"}, content=archive(image, reference), timeout=_LOAD_SECONDS
        )
        _read(answer, f"loading {reference}")
        if api.document(f"/images/{reference}/json") is None:
            raise HostError(
                f"Docker took the archive of {reference} and does not have the image", remedy="docker images"
            )
    return True


def archive(image: Image, reference: str) -> Iterator[bytes]:
    """The image in the format of `docker save`: its configuration, the list of its layers, and the one layer.

    The layer's files are root's: they are read through sudo where we are not root. Raises CommandFailed.
    """
    configuration, size = image.configuration(), image.layer_size()
    listed = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as head:
        for name, data in (("manifest.json", json.dumps(listed).encode()), ("config.json", configuration)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            head.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("layer.tar")
        info.size = size
        entry = info.tobuf(tarfile.GNU_FORMAT)
        yield buffer.getvalue()[: head.offset] + entry
    with command.piped(image.layer_words(), root=True) as pipe:
        while block := pipe.read(_BLOCK):
            yield block
    yield bytes(-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def _pull(api: DockerApi, reference: str) -> None:
    """Docker's own download, without a login."""
    name, _, digest = reference.partition("@")
    repository, _, tag = name.rpartition(":")
    asked = {"fromImage": repository, "tag": digest or tag}
    answer = api.request("POST", "/images/create", params=asked, timeout=_PULL_SECONDS)
    _read(answer, f"pulling {reference}")
    if digest and api.document(f"/images/{reference}/json") is None:  # pulled by digest, it has no tag yet
        raise HostError(
            f"Docker pulled {reference} and does not know it by that name", remedy=f"docker pull {reference}"
        )


def _read(answer: httpx.Response, what: str) -> None:
    """Raises HostError where the answer, or a line of its progress, is an error."""
    if answer.status_code != httpx.codes.OK:
        raise HostError(f"{what}: Docker answers {answer.status_code}: {said(answer)}")
    for line in answer.text.splitlines():
        try:
            progress = json.loads(line)
        except ValueError:
            continue
        if isinstance(progress, dict) and (text := progress.get("error")):
            raise HostError(
                f"{what}: {text}", remedy="check the network and the registry, or: docker pull by hand, then again"
            )


def remove_built(api: DockerApi, references: list[str]) -> list[str]:
    """Removes images that only the lab makes, unless a container uses them; returns those that are gone."""
    gone = []
    for reference in references:
        try:
            if api.request("DELETE", f"/images/{reference}").status_code == httpx.codes.OK:
                gone.append(reference)
        except CheckFailed:
            continue
    return gone
