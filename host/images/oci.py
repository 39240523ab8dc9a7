"""An OCI image layout written without a build tool: uncompressed layers, sorted names, times at zero."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host import command
from host.images.contained import alone

_IMAGE = "application/vnd.oci.image"
_NOT_IN_LAYERS = ("./proc/*", "./sys/*", "./dev/*", "./mnt/*", "./tmp/*", "./run/*", "./uv-cache")


def write_layout(
    rootfs: Path,
    target: Path,
    *,
    reference: str,
    config: Mapping[str, Any],
    architecture: str,
    split: Sequence[str],
    labels: Mapping[str, str],
    busy: Path,
    log: Path,
) -> None:
    """Writes `rootfs` into the folder `target` as one image: a layer of everything else, and one for each folder of `split`.

    Whatever stood in `target` before is replaced. Raises CommandFailed and OSError.
    """
    shutil.rmtree(target, ignore_errors=True)
    blobs = target / "blobs/sha256"
    blobs.mkdir(parents=True)
    rest = [*(f"--exclude=./{folder}/*" for folder in split), *(f"--exclude={name}" for name in _NOT_IN_LAYERS), "."]
    layers = [_layer(rootfs, blobs, words, busy, log) for words in (rest, *([f"./{folder}"] for folder in split))]
    settings = {
        "architecture": architecture,
        "os": "linux",
        "config": {**config, "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": [{"created_by": "local-ai-lab"} for _ in layers],
    }
    described = _blob(blobs, settings, f"{_IMAGE}.config.v1+json")
    manifest = _blob(
        blobs,
        {"schemaVersion": 2, "mediaType": f"{_IMAGE}.manifest.v1+json", "config": described, "layers": layers},
        f"{_IMAGE}.manifest.v1+json",
    )
    manifest["annotations"] = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1]}
    (target / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}), encoding="utf-8")
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}, sort_keys=True), encoding="utf-8")


def is_whole(layout: Path) -> bool:
    """Whether the index, the manifest and every blob are there in their full size; a quick look that hashes nothing."""
    try:
        (entry,) = json.loads((layout / "index.json").read_text(encoding="utf-8"))["manifests"]
        manifest = json.loads(_path(layout, entry).read_text(encoding="utf-8"))
        parts = [entry, manifest["config"], *manifest["layers"]]
        return (layout / "oci-layout").exists() and all(_path(layout, part).stat().st_size == part["size"] for part in parts)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def layer_paths(layout: Path) -> list[Path]:
    """The layers' archives from the lowest up."""
    (entry,) = json.loads((layout / "index.json").read_text(encoding="utf-8"))["manifests"]
    return [_path(layout, layer) for layer in json.loads(_path(layout, entry).read_text(encoding="utf-8"))["layers"]]


def unpack(layout: Path, target: Path, *, busy: Path, log: Path) -> None:
    """The image's root file system into `target`, owners kept. Raises CommandFailed."""
    target.mkdir(parents=True, exist_ok=True)
    for layer in layer_paths(layout):
        command.run([*alone(busy), "tar", "-C", target, "--numeric-owner", "-xpf", layer], timeout=900, log=log, root=True)


def _layer(rootfs: Path, blobs: Path, words: Sequence[str], busy: Path, log: Path) -> dict[str, Any]:
    raw = blobs / "writing"
    raw.unlink(missing_ok=True)
    same = ["--format=gnu", "--numeric-owner", "--sort=name", "--mtime=@0", "--hard-dereference"]
    command.run([*alone(busy), "tar", "-C", rootfs, *same, "-cf", raw, *words], timeout=1200, log=log, root=True)
    with raw.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    raw.rename(blobs / digest)
    return {"mediaType": f"{_IMAGE}.layer.v1.tar", "digest": f"sha256:{digest}", "size": (blobs / digest).stat().st_size}


def _blob(blobs: Path, value: Mapping[str, Any], media: str) -> dict[str, Any]:
    text = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(text)}


def _path(layout: Path, part: Mapping[str, Any]) -> Path:
    return layout / "blobs" / str(part["digest"]).replace(":", "/")
