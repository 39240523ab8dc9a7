"""One machine for `lab up` from nothing: the strict fakes of its programs, and a real API server behind the one of
which they speak.

The project's copy calls `attach` in every process, so that the Commands that Pulumi runs meet the same machine.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.gpu_machine import KEY, GpuMachine

if TYPE_CHECKING:  # processes of the product attach, and have no pytest
    from tests.support.project_copy import ProjectCopy

WHERE, AS_USER = "LAB_TEST_MACHINE", "LAB_TEST_USER"
_GPU_PROGRAMS = frozenset({
    "nvidia-smi", "nvidia-ctk", "docker", "systemctl", "apt-get", "dpkg-query", "dpkg", "dnf", "service",
})  # fmt: skip
_NOT_DOCUMENTED = 64
_SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
case "$1" in -*|"") echo "the fake of sudo does not know: $*" >&2; exit 64;; esac
LAB_TEST_USER=0 exec "$@"
"""


def attach(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on this process is on the machine of LAB_TEST_MACHINE; `set_attribute` may be monkeypatch's."""
    folder = Path(os.environ[WHERE])
    from host.artifacts import releases
    from host.artifacts.models import hub
    from host.drivers.k3s import driver as k3s
    from host.drivers.nvidia import driver as nvidia
    from host.drivers.nvidia import toolkit
    from host.system import command
    from stacks.plan import WeightsPlan

    gpu, run, obtain, obtained = GpuMachine(folder), command.run, releases.obtain, releases.obtained

    def on_this_machine(arguments: Sequence[Any], *, check: bool = True, **named: Any) -> Any:
        words = [str(a) for a in arguments]
        of_k3s = words[0] == "systemctl" and words[-1] == "k3s"
        if words[0] not in _GPU_PROGRAMS or of_k3s or (named.get("root") and os.geteuid() != 0):
            return run(arguments, check=check, **named)
        code, output = gpu.answer(words)
        if code == _NOT_DOCUMENTED:  # the other fakes of the same program are on PATH
            return run(arguments, check=check, **named)
        if words[0] == "apt-get" and "install" in words and not code:
            gpu.file("usr/bin/nvidia-container-runtime")  # of the package nvidia-container-toolkit
        with (folder / "state/log").open("a") as log:
            log.write(shlex.join(words) + "\n")
        if code == 127 or (check and code):
            raise command.CommandFailed(words, code, output)
        return subprocess.CompletedProcess(words, code, output, "")

    def weights(spec: WeightsPlan, work: Path) -> Path:
        result = work / "result"
        result.mkdir(parents=True)
        (result / "config.json").write_text(json.dumps({"standIn": spec.repository}))
        return result

    def release(name: str, version: str, cache: Path, **named: Any) -> Path | None:
        return folder / "release" if name == "k3s" else obtain(name, version, cache, **named)

    def there(name: str, version: str, cache: Path) -> Path | None:
        return folder / "release" if name == "k3s" else obtained(name, version, cache)

    set_attribute(os, "geteuid", lambda: int(os.environ[AS_USER]))
    for place, name, value in (
        (command, "run", on_this_machine), (hub, "make", weights), (toolkit, "_key", lambda _host: KEY),
        (releases, "obtain", release), (releases, "obtained", there), (k3s, "ROOT", folder / "root"),
        (nvidia, "ROOT", folder / "root"),
    ):  # fmt: skip
        assert hasattr(place, name), f"{place.__name__}.{name} is called otherwise now"
        set_attribute(place, name, value)


def put_sudo(folder: Path) -> None:
    """A sudo that asks nothing, on PATH."""
    (folder / "sudo").write_text(_SUDO)
    (folder / "sudo").chmod(0o755)


class Forward:
    """A port of this machine behind which another one is, for as long as `is_open` says so."""

    def __init__(self, port: int, target: tuple[str, int], is_open: Callable[[int], bool]) -> None:
        self._target, self._is_open = target, is_open
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._socket.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            if not self._is_open(self.port):
                return
            with socket.create_connection(self._target, timeout=10) as far:
                far.settimeout(None)
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def attach_copy(project: ProjectCopy) -> None:
    """Every process of this copy of the project is on the machine, and its stacks take the Kubernetes provider that the
    registries serve: no release can be had on a machine without a network.
    """
    drivers = project.folder / "host/drivers/__init__.py"
    drivers.write_text(
        f"{drivers.read_text()}\n\nfrom tests.support import whole_machine  # noqa: E402\n\nwhole_machine.attach()\n"
    )

    def served(facts: dict[str, Any]) -> None:
        for driver in ("minikube", "k3s"):
            facts[driver]["kubernetesProvider"] = facts["embedded"]["kubernetesProvider"]

    project.edit("compatibility.yaml", served)


def called(folder: Path) -> str:
    """What the fakes were asked, in order, one line each, without what differs from run to run; the same question
    again is one.
    """
    lines: list[str] = []
    for line in (folder / "state/log").read_text().splitlines():
        said = line.replace(str(folder), "MACHINE").replace(str(Path(__file__).parents[2]), "PROJECT")
        if not lines or lines[-1] != said:
            lines.append(said)
    return "\n".join(lines) + "\n"
