"""A machine with strict fakes of minikube and Docker on PATH, and an API server that answers while its node runs."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.support.fake_api_server import JsonHandler, TlsServer, certificates

FAKE = Path(__file__).with_name("fake_minikube.py")
_PORTS = 3


class World:
    """The machine. `state` is the fakes' folder, `bin` goes on PATH, `home` is the user's home."""

    def __init__(self, folder: Path) -> None:
        self.state, self.bin, self.home = folder / "state", folder / "bin", folder / "home"
        for path in (self.state, self.bin, self.home):
            path.mkdir(parents=True, exist_ok=True)
        for program in ("minikube", "docker"):
            shim = self.bin / program
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} {self.state} {program} "$@"\n')
            shim.chmod(0o755)
        self.say(docker="ok", gpu="ok", version="v1.37.0", faults={})
        certificates(self.state)
        self._servers = [_Server(self.state) for _ in range(_PORTS)]
        self._write("ports.json", [server.server_port for server in self._servers])

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def say(self, **facts: Any) -> None:
        """What is true of the machine from now on."""
        self._write("world.json", {**self.read("world.json"), **facts})

    def fail(self, command: str, **how: Any) -> None:
        """The next call of `command` fails: code, text, at (before, config, container, after), times."""
        self.say(faults={command: {"at": "before", "text": "", **how}})

    def read(self, name: str) -> dict[str, Any]:
        path = self.state / name
        return json.loads(path.read_text()) if path.exists() else {}

    def edit(self, name: str, change: Any) -> None:
        """`change` is given the document and alters it."""
        document = self.read(name)
        change(document)
        self._write(name, document)

    def config(self, profile: str) -> Path:
        return self.home / ".minikube" / "profiles" / profile / "config.json"

    def calls(self) -> list[str]:
        log = self.state / "log"
        return log.read_text().splitlines() if log.exists() else []

    def forget_calls(self) -> None:
        (self.state / "log").unlink(missing_ok=True)

    def rest(self) -> None:
        """Waits until no fake program works any more: one may outlive a caller that was killed."""
        with (self.state / "busy").open("a") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)

    def everything(self) -> dict[str, Any]:
        """All that the fakes keep, for comparison: containers (not their id and port), volumes, profiles, the marks."""
        docker = self.read("docker.json")
        containers = {
            name: {k: v for k, v in found.items() if k not in ("Id", "NetworkSettings")}
            for name, found in docker.get("containers", {}).items()
        }
        records = sorted((self.home / ".minikube" / "profiles").glob("*/config.json"))
        profiles = {path.parent.name: _parsed(path.read_text()) for path in records}
        owners = self.read("cluster.json").get("config_maps", {})
        return {
            "containers": containers,
            "volumes": sorted(docker.get("volumes", {})),
            "profiles": profiles,
            "marks": owners,
        }

    def save(self, target: Path) -> None:
        """Keeps all that there is in `target`, for `restore`."""
        for folder in (self.state, self.home):
            shutil.copytree(folder, target / folder.name)

    def restore(self, source: Path) -> None:
        """All that there is becomes what `save` kept; the API server goes on with its ports."""
        for folder in (self.state, self.home):
            shutil.rmtree(folder)
            shutil.copytree(source / folder.name, folder)

    def _write(self, name: str, document: Any) -> None:
        temporary = self.state / f".{name}.test"
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(self.state / name)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Server(TlsServer):
    """One port of the API server: it answers while it is the node's present port."""

    def __init__(self, state: Path) -> None:
        self.state = state
        super().__init__(_Handler, state)


class _Handler(JsonHandler):
    """What the driver asks of an API server, in its own words for what is not there."""

    server: _Server
    _MAPS = "/api/v1/namespaces/kube-system/configmaps"

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        cluster = self._cluster()
        if cluster is None:
            return
        if self.path == "/api/v1/namespaces/kube-system":
            self.say(200, {"metadata": {"name": "kube-system", "uid": cluster["uid"]}})
        elif self.path == "/api/v1/nodes":
            self.say(200, {"items": [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]})
        elif self.path.startswith(f"{self._MAPS}/"):
            found = cluster["config_maps"].get(self.path.rsplit("/", 1)[1])
            self.say(200, found) if found else self.say(404, {"reason": "NotFound"})
        else:
            self.say(404, {"reason": "NotFound"})

    def do_POST(self) -> None:  # noqa: N802  (http.server's name)
        cluster = self._cluster()
        if cluster is None:
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != self._MAPS or body["metadata"]["name"] in cluster["config_maps"]:
            self.say(409, {"reason": "AlreadyExists"})
            return
        cluster["config_maps"][body["metadata"]["name"]] = body
        temporary = self.server.state / ".cluster.json.server"
        temporary.write_text(json.dumps(cluster))
        temporary.replace(self.server.state / "cluster.json")
        self.say(201, body)

    def _cluster(self) -> dict[str, Any] | None:
        """The cluster's data, where a running node is at this port; else the connection just ends."""
        docker = json.loads((self.server.state / "docker.json").read_text())
        for container in docker["containers"].values():
            port = (container["NetworkSettings"]["Ports"].get("8443/tcp") or [{}])[0].get("HostPort")
            if container["State"]["Running"] and port == str(self.server.server_port):
                found: dict[str, Any] = json.loads((self.server.state / "cluster.json").read_text())
                return found
        self.close_connection = True
        return None
