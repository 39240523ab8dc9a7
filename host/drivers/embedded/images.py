"""Images of a cluster without a registry: the pause image, made here, and those that the image builder offers.

A built image is not copied. Its documents are imported without the layer, and the layer's snapshot is filled with hard
links to the files that the builder keeps: containerd runs pods from a snapshot and needs no archive for that. Snapshots
are lower layers of overlay file systems, which the kernel never writes to.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Collection
from pathlib import Path

from host.artifacts import go_modules
from host.artifacts.images import ensure_image
from host.artifacts.images.contained import alone
from host.artifacts.images.oci import Image
from host.drivers.embedded.configs import PAUSE_NAME
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from host.system import command, files
from host.system.progress import step
from stacks.plan import EmbeddedPlan

_FILL_SECONDS = 1800.0  # links take two seconds, a copy to another disk takes minutes
_UNFINISHED = "local-ai-lab-import"


def pause_reference(parts: Parts) -> str:
    """The pause image's name: its tag is the digest of the one program in it."""
    return f"{PAUSE_NAME}:{hashlib.sha256((parts.pause / 'pause').read_bytes()).hexdigest()[:12]}"


def ctr(layout: Layout, parts: Parts, *arguments: str, timeout: float = 20, check: bool = True) -> str:
    """One call of containerd's own client in Kubernetes' namespace; returns what it printed. Raises CommandFailed."""
    words: list[str | Path] = [
        parts.containerd / "ctr",
        "--address",
        layout.containerd_socket,
        "--namespace",
        "k8s.io",
        *arguments,
    ]
    return command.run(words, timeout=timeout, check=check).stdout


def ensure_images(layout: Layout, parts: Parts) -> list[str]:
    """Imports the images that containerd lacks; returns their names. Raises HostError."""
    there = _usable(layout, parts)
    imported = []
    if (pause := pause_reference(parts)) not in there:
        archive = layout.images.parent / f"pause-{pause.rpartition(':')[2]}.tar"
        if not archive.exists():
            write_pause(archive, (parts.pause / "pause").read_bytes(), pause)
        ctr(layout, parts, "images", "import", str(archive), timeout=120)
        imported.append(pause)
    for reference in (name for name in layout.plan.images if name not in there):
        _import_built(layout, parts, reference)
        imported.append(reference)
    return imported


def build(plan: EmbeddedPlan, *, only: Collection[str] = ()) -> None:
    """Builds the images of a plan that this machine lacks, as the caller; with `only` those of these repositories.
    Raises HostError.
    """
    for reference in plan.images:
        if not only or reference.partition(":")[0] in only:
            ensure_image(reference)


def write_pause(archive: Path, program: bytes, reference: str) -> None:
    """An OCI image of one layer with one program, as a tar archive; equal bytes for an equal program."""
    layer = _tar({"pause": (program, 0o755)})
    config = _blob({
        "architecture": go_modules.architecture(), "os": "linux", "config": {"User": "65535:65535",
        "Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}, "history": [{"created_by": "local-ai-lab"}],
    })  # fmt: skip
    manifest = _blob({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _digest(config),
        "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": _digest(layer),
        "size": len(layer)}],
    })  # fmt: skip
    index = _blob({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": _digest(manifest), "size": len(manifest),
        "annotations": {"io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2]},
    }]})  # fmt: skip
    blobs = {f"blobs/sha256/{_digest(b).removeprefix('sha256:')}": (b, 0o644) for b in (layer, config, manifest)}
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}")
    temporary.write_bytes(
        _tar({"oci-layout": (b'{"imageLayoutVersion":"1.0.0"}', 0o644), "index.json": (index, 0o644), **blobs})
    )
    temporary.replace(archive)


def forget_containers(layout: Layout, parts: Parts) -> None:
    """Removes what containerd remembers of containers of an earlier life of the cluster; images stay. Best effort,
    bounded.
    """
    for kind in ("tasks", "containers", "snapshots"):
        listed = ctr(
            layout, parts, kind, "list", *(() if kind == "snapshots" else ("--quiet",)), timeout=10, check=False
        )
        names = [line.split()[0] for line in listed.splitlines() if line.split()]
        if kind == "snapshots":
            names = [line.split()[0] for line in listed.splitlines() if line.endswith("Active")]
        for number in range(0, len(names), 50):
            ctr(
                layout,
                parts,
                kind,
                "remove",
                *(("--force",) if kind == "tasks" else ()),
                *names[number : number + 50],
                timeout=20,
                check=False,
            )


def _usable(layout: Layout, parts: Parts) -> set[str]:
    """The names of the images whose snapshot is there too; archives of layers do not count, nothing needs them."""
    rows = [line.split() for line in ctr(layout, parts, "images", "check", check=False).splitlines()]
    return {row[0] for row in rows if row and row[-1] == "true"}


def _import_built(layout: Layout, parts: Parts, reference: str) -> None:
    """Gives the cluster an image of the image builder; one that a killed run began is begun again. Raises HostError."""
    image = ensure_image(reference)
    with files.lock(layout.run / "import.lock", what="the import of images"), step(f"importing {reference}"):
        # The snapshot first: containerd keeps it by a label of its own, and a name without files is never seen.
        if image.chain() not in ctr(layout, parts, "snapshots", "list").split():
            _link(layout, parts, image)
        archive = layout.run / "import.tar"
        archive.write_bytes(_tar({name: (data, 0o644) for name, data in image.documents().items()}))
        ctr(layout, parts, "images", "import", "--local", "--no-unpack", str(archive), timeout=120)
        archive.unlink()


def _link(layout: Layout, parts: Parts, image: Image) -> None:
    """The image's files as a committed snapshot. Raises HostError where files are missing."""
    image.require_files()
    ctr(layout, parts, "snapshots", "remove", _UNFINISHED, timeout=300, check=False)
    (mount,) = json.loads(ctr(layout, parts, "snapshots", "prepare", "--mounts", _UNFINISHED))
    target = Path(mount["Source"])
    linked = ["--link"] if _can_link(image.layout / "index.json", target) else []
    command.run(
        [*alone(layout.run / "import.busy"), "cp", "--archive", *linked, f"{image.rootfs}/.", target],
        timeout=_FILL_SECONDS,
    )
    if not linked:
        os.sync()
    ctr(layout, parts, "snapshots", "commit", image.chain(), _UNFINISHED, timeout=120)


def _can_link(file: Path, folder: Path) -> bool:
    """Whether a hard link to `file` can stand in `folder`: not across file systems, nor where a file system has
    none.
    """
    probe = folder / ".probe"
    try:
        probe.hardlink_to(file)
    except OSError:
        return False
    probe.unlink()
    return True


def _tar(entries: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _blob(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
