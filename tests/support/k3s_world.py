"""A machine below a folder, with strict fakes of its programs on PATH and an API server that answers while K3s runs."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.support.fake_api_server import certificates
from tests.support.minikube_world import _Handler, _Server

FAKE = Path(__file__).with_name("fake_k3s.py")
VERSION = "v1.36.2+k3s1"
NODE = "local-ai-lab-rtx4060"
PROGRAMS = (
    "systemctl", "kill", "umount", "ip", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore",
)  # fmt: skip
_PARTS = ("root", "state", "home")


class World:
    """The machine: `root` is its file tree, `home` the caller's home, `state` the fakes' folder, `bin` goes on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.state, self.home, self.bin = (folder / name for name in (*_PARTS, "bin"))
        for path in (self.state, self.home, self.bin, folder / "release"):
            path.mkdir(parents=True)
        for program in PROGRAMS:
            self.shim(self.bin / program, program)
        self.shim(folder / "release/k3s", f"k3s {VERSION}")
        self.write("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        self.write("/proc/sys/kernel/osrelease", "6.8.0-50-generic\n")
        self.write("/usr/bin/nvidia-container-runtime", "")
        self.at("/run/systemd/system").mkdir(parents=True)
        for place in ("/etc/systemd/system", "/usr/local/bin", "/sys/class/net/lo", "/var/lib/llm-models"):
            self.at(place).mkdir(parents=True)
        certificates(folder)
        (folder / "state/tls.pem").write_bytes((folder / "tls.pem").read_bytes())
        (folder / "state/tls.key").write_bytes((folder / "tls.key").read_bytes())
        self._server = _Server(self.state)
        self._server.RequestHandlerClass = K3sHandler
        self._server.state = self.at("/var/lib/rancher/k3s/server")
        (folder / "port").write_text(str(self._server.server_port))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)
        self.at(path).chmod(mode)

    def shim(self, path: Path, program: str) -> None:
        """A program that is the fake; made anew, since one that runs may not be written to."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} {self.folder} {program} "$@"\n')
        path.chmod(0o755)

    def service(self, **facts: Any) -> dict[str, Any]:
        """What systemd knows of the service, with these facts from now on."""
        path = self.state / "service.json"
        found: dict[str, Any] = {**(json.loads(path.read_text()) if path.exists() else {}), **facts}
        path.write_text(json.dumps(found))
        return found

    def fail(self, program: str, text: str) -> None:
        """Every call of the program fails from now on."""
        (self.state / "faults.json").write_text(json.dumps({program: {"code": 32, "text": text}}))

    def calls(self) -> list[str]:
        log = self.state / "log"
        return log.read_text().splitlines() if log.exists() else []

    def rest(self) -> None:
        """Waits until no fake program works any more: one may outlive a caller that was killed."""
        with (self.state / "busy").open("a") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)

    def everything(self) -> dict[str, Any]:
        """All files with mode and content, links and rules, and with what the service runs; not the cluster's UID."""
        files: dict[str, Any] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_file() and not path.is_symlink() and not name.startswith("run/lock/"):
                text = path.read_text()
                if path.name == "cluster.json":
                    text = json.dumps(json.loads(text)["config_maps"], sort_keys=True)
                files[name] = (oct(path.stat().st_mode & 0o777), text)
            elif path.is_dir() and name.startswith("sys/"):
                files[name] = "link"
        service = {k: v for k, v in self.service().items() if k != "made"}
        rules = {n: (self.state / n).read_text() for n in ("iptables", "ip6tables") if (self.state / n).exists()}
        return {"files": files, "service": service, "rules": rules}

    def save(self, target: Path) -> None:
        """Keeps all that there is in `target`, for `restore`."""
        for name in _PARTS:
            shutil.copytree(self.folder / name, target / name, symlinks=True)

    def restore(self, source: Path) -> None:
        """All that there is becomes what `save` kept; the API server goes on with its port."""
        self.rest()
        for name in _PARTS:
            shutil.rmtree(self.folder / name)
            shutil.copytree(source / name, self.folder / name, symlinks=True)


class K3sHandler(_Handler):
    """K3s' API server: one node, which is ready while the service runs."""

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        if self.path == "/api/v1/nodes" and self._cluster() is not None:
            ready = {"type": "Ready", "status": "True"}
            self.say(200, {"items": [{"metadata": {"name": NODE}, "status": {"conditions": [ready]}}]})
        else:
            super().do_GET()

    def _cluster(self) -> dict[str, Any] | None:
        service = self.server.state.parents[4].parent / "state/service.json"
        if service.exists() and json.loads(service.read_text()).get("active"):
            found: dict[str, Any] = json.loads((self.server.state / "cluster.json").read_text())
            return found
        self.close_connection = True
        return None
