"""`lab model add`: a model of the user's own, from a folder or the Hugging Face Hub, into catalog/ beside the stack
files.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml

from cli.output import console, print_json
from stacks.catalog.checkpoint import CheckpointError, Found, entry
from stacks.catalog.kv import kv_bytes_per_token
from stacks.catalog.loader import OWN_FOLDER
from stacks.errors import LabError, shown

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}")


def run(root: Path, source: str, *, name: str | None, revision: str | None, force: bool, as_json: bool) -> None:
    """Writes catalog/ID.yaml. Raises CheckpointError with everything that is wrong, and then nothing is written."""
    found = _look(source, revision)
    own = root / OWN_FOLDER
    ident, document = entry(found, name=name)
    path = own / f"{ident}.yaml"
    if path.exists() and not force:
        there = (f"{OWN_FOLDER}/{ident}.yaml is there already", "give another id: --name ID, or write over it: --force")
        raise CheckpointError(found.where, [there])
    _write(path, _text(document, found))
    if as_json:
        print_json({"id": ident, "file": f"{OWN_FOLDER}/{ident}.yaml", "model": document})
        return
    out = console()
    out.print(f"[bold green]+[/] {OWN_FOLDER}/{ident}.yaml")
    out.print(f"  read        {document['configSource']['ref']}", markup=False)
    out.print(
        f"  shape       {document['config']['model_type']}, {document['parameters']} parameters, {_kv(document)}",
        markup=False,
    )
    out.print(f"  weights     {document['weightsGiB']['value']:g} GiB: {document['weightsGiB']['ref']}", markup=False)
    out.print(
        f"  kind        {document['quantization'] or document['checkpointDtype']}, {document['task']}, "
        f"{document['licence']}",
        markup=False,
    )
    if document["repository"].startswith("local/"):
        out.print(
            "  note        the folder names no repository: put its files into the stack's model cache yourself",
            markup=False,
            style="yellow",
        )
    if isinstance(found.config, dict) and found.config.get("auto_map"):
        out.print(
            "  note        the repository brings code of its own (auto_map); the lab never runs it",
            markup=False,
            style="yellow",
        )
    out.print(f"next: write `model: {ident}` into a stack file, then: ./lab validate", style="dim", markup=False)


def _look(source: str, revision: str | None) -> Found:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise _unusable("--revision goes with a repository, and this is a folder", "leave it out")
        from probes.checkpoint import look

        return _found(look(folder))
    if not _REPOSITORY.fullmatch(source) or source.count("/") != 1 or ".." in source:
        raise _unusable(
            f"{shown(source)} is neither a folder here nor a repository",
            "write it as OWNER/NAME, such as Qwen/Qwen3-0.6B",
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise _unusable(f"{shown(revision)} is no revision", "give a commit (40 hex digits), a branch or a tag")
    from probes import hub

    return _found(hub.look(source, revision))


def _found(seen: Any) -> Found:
    """What a probe saw, as the catalogue takes it: probes know nothing of stacks/."""
    return Found(**{**vars(seen), "problems": tuple(seen.problems)})


def _unusable(message: str, remedy: str) -> LabError:
    return LabError(message, remedy=remedy, exit_code=2)


def _kv(document: dict[str, Any]) -> str:
    return f"{kv_bytes_per_token(document['config']):,} bytes of KV cache a token"


def _text(document: dict[str, Any], found: Found) -> str:
    head = f"# Written by `lab model add` from {found.where}.\n"
    return (
        head.replace("\n", " ").strip()
        + "\n"
        + yaml.safe_dump(document, sort_keys=False, width=128, allow_unicode=True)
    )


def _write(path: Path, text: str) -> None:
    """The whole file or none of it: another process that reads the folder sees the old file or the new one."""
    try:
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unusable(
            f"{OWN_FOLDER}/{path.name} cannot be written: {error.strerror}", f"type: ls -ld {OWN_FOLDER}"
        ) from None
