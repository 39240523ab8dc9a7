"""Machines as public reports show them (tests/data/machines): a strict stand-in for what probes may ask.

Options as `nvidia-smi --help-query-gpu` of 595.80 lists them; `docker info --format '{{json .}}'` of Docker 28.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.machine import APPS, OLD_QUERY, QUERY
from probes.nvidia.layer import NOT_FOUND, Ran

FOLDER = Path(__file__).resolve().parent.parent / "data" / "machines"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
_CSV = "--format=csv,noheader,nounits"
_DOCKER = {
    "ServerVersion": "28.5.1", "OperatingSystem": "Ubuntu 24.04.3 LTS", "Runtimes": {"runc": {"path": "runc"}},
    "DefaultRuntime": "runc", "CgroupDriver": "systemd", "CgroupVersion": "2", "DockerRootDir": "/var/lib/docker",
    "SecurityOptions": ["name=apparmor", "name=cgroupns"],
}  # fmt: skip


class RecordedMachine:
    """One recording. `old`: its driver refuses the fields that came with driver 510."""

    def __init__(self, name: str, *, old: bool = False, **changed: Any) -> None:
        self.recording: dict[str, Any] = {**json.loads((FOLDER / f"{name}.json").read_text()), **changed}
        self.old = old

    def run(self, words: Sequence[str], timeout: float = 20.0) -> Ran:
        program, *rest = words
        answers = {
            "nvidia-smi": self._smi, "docker": self._docker, "df": self._df, "uname": self._uname, "id": self._id,
            "sudo": self._sudo, "minikube": self._minikube, "kubectl": self._kubectl,
            "powershell.exe": self._powershell,
        }  # fmt: skip
        assert program in answers, words
        return answers[program](rest)

    def _smi(self, rest: list[str]) -> Ran:
        rows = self.recording["fields"]
        if not rows:
            return Ran(NOT_FOUND, "nvidia-smi: not found")
        query, form = rest
        assert form == _CSV, rest
        if query == f"--query-compute-apps={','.join(APPS)}":
            return Ran(0, "".join(f"{', '.join(row)}\n" for row in self.recording["apps"]))
        fields = query.removeprefix("--query-gpu=").split(",")
        assert tuple(fields) in (QUERY, OLD_QUERY), query
        if self.old and "compute_cap" in fields:
            return Ran(2, 'Field "compute_cap" is not a valid field to query.\n')
        return Ran(0, "".join(f"{', '.join(row[: len(fields)])}\n" for row in rows))

    def _docker(self, rest: list[str]) -> Ran:
        assert rest == ["info", "--format", "{{json .}}"], rest
        return Ran(0, json.dumps(_DOCKER)) if self._has("docker") else Ran(NOT_FOUND, "docker: not found")

    def _df(self, rest: list[str]) -> Ran:
        path, total, free = self.recording["disk"]
        assert rest == ["-P", "-k", path], rest
        head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
        return Ran(0, f"{head}\n/dev/sda1 {total} {total - free} {free} 9% /\n")

    def _uname(self, rest: list[str]) -> Ran:
        assert rest == ["-m"], rest
        return Ran(0, f"{self.recording['arch']}\n")

    def _id(self, rest: list[str]) -> Ran:
        assert rest == ["-u"], rest
        return Ran(0, "1000\n")

    def _sudo(self, rest: list[str]) -> Ran:
        assert rest == ["-V"], rest
        return Ran(0, "Sudo version 1.9.15p5\n") if self._has("sudo") else Ran(NOT_FOUND, "sudo: not found")

    def _minikube(self, rest: list[str]) -> Ran:
        assert rest == ["version", "--short"], rest
        return Ran(0, "v1.38.1\n") if self._has("minikube") else Ran(NOT_FOUND, "minikube: not found")

    def _kubectl(self, rest: list[str]) -> Ran:
        assert rest == ["config", "view", "-o", "json"], rest
        return Ran(NOT_FOUND, "kubectl: not found")

    def _powershell(self, rest: list[str]) -> Ran:
        asked = "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory"
        assert rest == ["-NoProfile", "-NonInteractive", "-Command", asked], rest
        size = self.recording.get("windowsBytes")
        return Ran(0, f"{size}\r\n") if size else Ran(NOT_FOUND, "powershell.exe: not found")

    def read(self, path: str) -> str | None:
        files = {
            "/proc/version": self.recording["version"],
            "/proc/meminfo": f"MemTotal:       {self.recording['memoryKiB']} kB\nMemFree: 1 kB\n",
            "/proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: x\n\n" for n in range(self.recording["cpus"])),
            "/etc/os-release": self.recording["release"],
            **self.recording.get("files", {}),
        }
        return files.get(path)

    def exists(self, path: str) -> bool:
        there = {self.recording["disk"][0], *self.recording.get("files", {})}
        if self._has("k3s"):
            there.add("/usr/local/bin/k3s")
        if self.recording["systemd"]:
            there.add("/run/systemd/system")
        return path in there

    def names(self, folder: str) -> tuple[str, ...]:
        return tuple(self.recording.get("folders", {}).get(folder, ()))

    def _has(self, program: str) -> bool:
        return program in self.recording["programs"]
