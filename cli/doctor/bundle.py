"""The support bundle: what somebody who helps needs, without secrets."""

from __future__ import annotations

import getpass
import io
import json
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cli.doctor.examination import Case
from probes.doctor import Subject
from probes.doctor.redact import redact
from probes.machine import look
from stacks.errors import Problem, SettingsError
from stacks.settings.stack_file import stack_path

_LOG_LINES = "400"
_PROGRAMS = {
    "nvidia-smi.txt": ("nvidia-smi",),
    "nvidia-smi-q.txt": ("nvidia-smi", "-q"),
    "nvidia-ctk-cdi.txt": ("nvidia-ctk", "cdi", "list"),
    "docker-info.json": ("docker", "info", "--format", "{{json .}}"),
    "disks.txt": ("df", "-P", "-k"),
    "minikube.txt": ("minikube", "profile", "list", "-o", "json"),
}


def write_bundle(path: Path, case: Case, report_text: str) -> list[tuple[str, int]]:
    """Writes the archive, readable by its owner only, and returns what is in it with sizes in bytes. Raises
    SettingsError where the file cannot be written.
    """
    names = (socket.gethostname(), getpass.getuser())
    entries = [(name, redact(text, names=names).encode()) for name, text in _entries(case, report_text)]
    try:
        path.touch(mode=0o600, exist_ok=False)
        with tarfile.open(path, "w:gz") as archive:
            for name, content in entries:
                info = tarfile.TarInfo(f"lab-doctor/{name}")
                info.size, info.mode = len(content), 0o600
                archive.addfile(info, io.BytesIO(content))
    except OSError as error:
        why = "is there already" if isinstance(error, FileExistsError) else f"cannot be written: {error.strerror}"
        problem = Problem("command line", "--bundle", f"{path} {why}", "name a new file in a folder that exists")
        raise SettingsError([problem]) from None
    return [(name, len(content)) for name, content in entries]


def _entries(case: Case, report_text: str) -> Iterator[tuple[str, str]]:
    subject = case.subject
    yield "report.txt", report_text
    yield "report.json", _json(case.report.to_json())
    yield "machine.json", _json(asdict(look(subject.machine)))
    for name in ("/etc/os-release", "/proc/version", "/proc/meminfo", "/etc/docker/daemon.json"):
        if text := subject.machine.read(name):
            yield f"files{name}", text
    for name, words in _PROGRAMS.items():
        ran = subject.machine.run(words)
        if ran.output:
            yield f"programs/{name}", ran.output
    if case.report.stack is not None:
        yield "stack.yaml", stack_path(case.root, case.report.stack).read_text(encoding="utf-8", errors="replace")
    if subject.plan is not None:
        yield "plan.json", subject.plan.to_json()
    yield from _cluster(subject)


def _cluster(subject: Subject) -> Iterator[tuple[str, str]]:
    api, wanted = subject.answering, subject.kubernetes
    if api is None or wanted is None:
        return
    base = f"/api/v1/namespaces/{wanted.namespace}"
    for name, path in (("nodes", "/api/v1/nodes"), ("pods", f"{base}/pods"), ("events", f"{base}/events")):
        try:
            yield f"cluster/{name}.yaml", yaml.safe_dump(api.items(path), sort_keys=False)
        except Exception as error:  # noqa: BLE001  (a bundle of a broken cluster has what can be had)
            yield f"cluster/{name}.txt", str(error)
    for pod in subject.serving:
        try:
            yield f"cluster/logs/{pod}.txt", api.get(f"{base}/pods/{pod}/log", tailLines=_LOG_LINES).text
        except Exception as error:  # noqa: BLE001
            yield f"cluster/logs/{pod}.txt", str(error)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
