"""An image as a folder: its root file system, and beside it OCI's documents about it.

The one layer is described and never written: its archive is read once for its digest. A cluster's containerd gets hard
links to the files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.artifacts.images.contained import alone
from host.system import command
from stacks.errors import HostError

_TYPE = "application/vnd.oci.image"
_FILES, _BYTES = "local-ai-lab.files", "local-ai-lab.bytes"
# sorted names, numbers for owners, times as they are: equal files give equal bytes
_ARCHIVED = ("--format=gnu", "--numeric-owner", "--sort=name")
_HASHED = """import hashlib, sys
digest, size = hashlib.sha256(), 0
while block := sys.stdin.buffer.read(1 << 20):
    digest.update(block)
    size += len(block)
print(digest.hexdigest(), size)
"""


@dataclass(frozen=True)
class Image:
    """The folder of one image. What is in `rootfs` belongs to root and is shared: nobody may write there once the
    documents stand.
    """

    folder: Path

    @property
    def rootfs(self) -> Path:
        """The files of the one layer."""
        return self.folder / "rootfs"

    @property
    def layout(self) -> Path:
        """An OCI image layout without the layer."""
        return self.folder / "oci"

    def is_whole(self) -> bool:
        """Whether the documents are there in their full size and the files are there at all; a quick look that hashes
        nothing.
        """
        try:
            entry, manifest = self._entry(), self._manifest()
            parts = [entry, manifest["config"]]
            sizes = all(self._path(part).stat().st_size == part["size"] for part in parts)
            return sizes and (self.layout / "oci-layout").exists() and any(self.rootfs.iterdir())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def chain(self) -> str:
        """The name of the layer's snapshot in containerd: with one layer it is the digest of the layer's archive."""
        (layer,) = self._manifest()["layers"]
        return str(layer["digest"])

    def configuration(self) -> bytes:
        """OCI's configuration document, which is Docker's too."""
        return self._path(self._manifest()["config"]).read_bytes()

    def layer_size(self) -> int:
        """How many bytes `layer_words` writes."""
        (layer,) = self._manifest()["layers"]
        return int(layer["size"])

    def layer_words(self) -> list[str]:
        """The command that writes the layer's archive, byte for byte as it was described; it needs root."""
        return ["tar", "-C", str(self.rootfs), *_ARCHIVED, "-cf", "-", "."]

    def documents(self) -> dict[str, bytes]:
        """The layout's files by their paths in it."""
        return {str(p.relative_to(self.layout)): p.read_bytes() for p in sorted(self.layout.rglob("*")) if p.is_file()}

    def require_files(self) -> None:
        """Raises HostError unless there are as many files with as many bytes as when the image was built."""
        labels = json.loads(self._path(self._manifest()["config"]).read_text(encoding="utf-8"))["config"]["Labels"]
        wanted, found = (int(labels[_FILES]), int(labels[_BYTES])), _counted(self.rootfs)
        if found != wanted:
            raise HostError(
                f"{self.rootfs} is damaged: it has {found[0]} files with {found[1]} bytes, and was built with "
                f"{wanted[0]} and {wanted[1]}",
                remedy=f"sudo rm -rf {self.folder}, and run the same command again: it is built again",
            )

    def _entry(self) -> dict[str, Any]:
        (entry,) = json.loads((self.layout / "index.json").read_text(encoding="utf-8"))["manifests"]
        return dict(entry)

    def _manifest(self) -> dict[str, Any]:
        return dict(json.loads(self._path(self._entry()).read_text(encoding="utf-8")))

    def _path(self, part: Mapping[str, Any]) -> Path:
        return self.layout / "blobs" / str(part["digest"]).replace(":", "/")


def describe(
    image: Image, *, reference: str, config: Mapping[str, Any], architecture: str, labels: Mapping[str, str], busy: Path
) -> None:
    """Writes the documents of the files in `image.rootfs`, in place of earlier ones. Raises CommandFailed and
    OSError.
    """
    shutil.rmtree(image.layout, ignore_errors=True)
    blobs = image.layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    layer = _layer(image.rootfs, busy)
    files, size = _counted(image.rootfs)
    settings = {
        "architecture": architecture,
        "os": "linux",
        "config": {**config, "Labels": {**labels, _FILES: str(files), _BYTES: str(size)}},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created_by": "local-ai-lab"}],
    }
    described = _blob(blobs, settings, f"{_TYPE}.config.v1+json")
    media = f"{_TYPE}.manifest.v1+json"
    manifest = _blob(blobs, {"schemaVersion": 2, "mediaType": media, "config": described, "layers": [layer]}, media)
    manifest["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1],
    }
    (image.layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}), encoding="utf-8")
    (image.layout / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [manifest]}, sort_keys=True), encoding="utf-8"
    )


def _layer(rootfs: Path, busy: Path) -> dict[str, Any]:
    """What a registry would be told of the layer. Its archive goes through a pipe."""
    script = f'set -o pipefail; tar -C "$1" {" ".join(_ARCHIVED)} -cf - . | "$2" -I -S -c "$3"'
    words = [*alone(busy), "bash", "-c", script, "layer", rootfs, sys.executable, _HASHED]
    digest, size = command.run(words, timeout=1200, root=True).stdout.split()
    return {"mediaType": f"{_TYPE}.layer.v1.tar", "digest": f"sha256:{digest}", "size": int(size)}


def _counted(folder: Path) -> tuple[int, int]:
    """How many regular files there are and how many bytes they have together."""
    sizes = command.run(["find", folder, "-type", "f", "-printf", "%s\n"], timeout=300, root=True).stdout.split()
    return len(sizes), sum(int(size) for size in sizes)


def _blob(blobs: Path, value: Mapping[str, Any], media: str) -> dict[str, Any]:
    text = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(text)}
