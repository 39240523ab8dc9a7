"""An OCI image of one static program under several paths, as an archive that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host.artifacts import go_modules

_OCI = "application/vnd.oci.image"


def write(archive: Path, reference: str, program: bytes, paths: Sequence[str]) -> None:
    """The image `reference`, which runs the first of `paths` as root."""
    layer = _tar(dict.fromkeys(paths, (program, 493)))
    config = _json({
        "architecture": go_modules.architecture(), "os": "linux",
        "config": {"User": "0:0", "Entrypoint": [f"/{paths[0]}"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    })  # fmt: skip
    manifest = _json({
        "schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _described(config, "config.v1+json"), "layers": [_described(layer, "layer.v1.tar")],
    })  # fmt: skip
    named = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}
    index = _json(
        {"schemaVersion": 2, "manifests": [{**_described(manifest, "manifest.v1+json"), "annotations": named}]}
    )
    blobs = {
        f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": (blob, 0o644) for blob in (layer, config, manifest)
    }
    layout = {"oci-layout": (b'{"imageLayoutVersion":"1.0.0"}', 0o644), "index.json": (index, 0o644)}
    archive.write_bytes(_tar({**layout, **blobs}))


def _described(blob: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
