"""A strict stand-in for the Docker engine: what the lab uses of its API 1.41, and nothing else.

Routes, parameters, fields and status codes are those of https://docs.docker.com/reference/api/engine/version/v1.41/;
the shape of answers is that of Docker 20.10.24, which the end-to-end test runs for real. What is not documented is
answered with 400 and kept in `refused`.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_CREATE = {
    "Image", "Cmd", "Env", "User", "Labels", "ExposedPorts", "StopTimeout", "Healthcheck", "HostConfig",
    "NetworkingConfig",
}  # fmt: skip
_HOST = {
    "PortBindings", "RestartPolicy", "NetworkMode", "Mounts", "ReadonlyRootfs", "Privileged", "CapAdd", "CapDrop",
    "SecurityOpt", "PidsLimit", "NanoCpus", "CpuShares", "Memory", "MemorySwap", "MemoryReservation", "ShmSize",
    "LogConfig", "DeviceRequests", "Devices", "Binds", "PidMode", "IpcMode",
}  # fmt: skip
_PARAMETERS = {
    "POST /containers/create": {"name"},
    "GET /containers/json": {"all", "filters"},
    "DELETE /containers/NAME": {"v", "force"},
    "GET /containers/NAME/logs": {"stdout", "stderr", "tail"},
    "GET /networks": {"filters"},
    "GET /volumes": {"filters"},
    "POST /images/create": {"fromImage", "tag"},
    "POST /images/load": {"quiet"},
}
IMAGE = {"Config": {"Env": ["PATH=/usr/bin"], "Entrypoint": ["vllm", "serve"]}, "RootFS": {"Layers": ["sha256:layer"]}}


class FakeDocker:
    """The engine's state; tests read it and change it as somebody at the machine would."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.info = {"ID": "FAKE:ENGINE", "OSType": "linux", "MemoryLimit": True, "ServerVersion": "20.10.24"}
        self.logs: dict[str, str] = {}
        self.refused: list[str] = []
        self.writes: list[str] = []
        self.start_error = ""
        self._ids, self._lock = 0, threading.Lock()

    def snapshot(self) -> dict[str, Any]:
        """What is there, without what differs from run to run."""

        def plain(thing: dict[str, Any]) -> dict[str, Any]:
            found = copy.deepcopy(thing)
            networks = found.get("NetworkSettings", {}).get("Networks", {})
            ids = [n["Id"] for n in self.networks.values()]
            for network in networks.values():
                network["NetworkID"] = "one that is there" if network["NetworkID"] in ids else "one that is gone"
            return {key: value for key, value in found.items() if key != "Id" or thing in self.images.values()}

        kinds = {
            "containers": self.containers,
            "networks": self.networks,
            "volumes": self.volumes,
            "images": self.images,
        }
        return {kind: {name: plain(thing) for name, thing in things.items()} for kind, things in kinds.items()}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        """The status and the document for one request."""
        with self._lock:
            return self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        split = urlsplit(target)
        if split.path == "/_ping":
            return 200, "OK"
        path = unquote(split.path).removeprefix("/v1.41")
        asked = {key: values[0] for key, values in parse_qs(split.query).items()}
        document = body if path == "/images/load" else json.loads(body) if body else None
        for pattern, route in _ROUTES.items():
            verb, _, shape = pattern.partition(" ")
            found = re.fullmatch(shape.replace("NAME", "(.+)"), path)
            if verb == method and found:
                if unknown := set(asked) - _PARAMETERS.get(pattern, set()):
                    return self._refuse(f"{pattern}: parameter {sorted(unknown)}")
                if method != "GET":
                    self.writes.append(f"{method} {path}")
                return route(
                    self, *found.groups(), **({"asked": asked} if asked else {}), **({"body": document} if body else {})
                )
        return self._refuse(f"{method} {path}")

    def _refuse(self, what: str) -> tuple[int, Any]:
        self.refused.append(what)
        return 400, {"message": f"the fake does not know {what}"}

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:064x}"

    def _container(self, name: str) -> dict[str, Any] | None:
        return self.containers.get(name) or next((c for c in self.containers.values() if c["Id"] == name), None)

    def _info(self) -> tuple[int, Any]:
        return 200, self.info

    def _version(self) -> tuple[int, Any]:
        return 200, {"Version": "20.10.24"}

    def _create(self, *, asked: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if unknown := [*sorted(set(body) - _CREATE), *sorted(set(body["HostConfig"]) - _HOST)]:
            return self._refuse(f"fields {unknown}")
        name = asked["name"]
        if name in self.containers:
            return 409, {"message": f'Conflict. The container name "/{name}" is already in use'}
        if body["Image"] not in self.images:
            return 404, {"message": f"No such image: {body['Image']}"}
        image, (network,) = self.images[body["Image"]], body["NetworkingConfig"]["EndpointsConfig"]
        for mount in body["HostConfig"]["Mounts"]:
            if mount["Type"] == "volume" and mount["Source"] not in self.volumes:
                self.volumes[mount["Source"]] = {
                    "Name": mount["Source"],
                    "Labels": None,
                }  # as Docker does: without labels
        named = {text.partition("=")[0] for text in body["Env"]}
        inherited = [text for text in image["Config"]["Env"] if text.partition("=")[0] not in named]
        config = {key: body[key] for key in _CREATE - {"HostConfig", "NetworkingConfig"}}
        self.containers[name] = {
            "Id": self._new_id(), "Name": f"/{name}", "Image": image["Id"], "RestartCount": 0,
            "State": {"Status": "created", "Running": False, "Paused": False, "ExitCode": 0, "Error": "", "Pid": 0},
            "Config": {**config, "Env": [*body["Env"], *inherited], "Entrypoint": image["Config"]["Entrypoint"]},
            "HostConfig": body["HostConfig"],
            "NetworkSettings": {"Networks": {network: {"NetworkID": self.networks.get(network, {}).get("Id", "")}}},
        }  # fmt: skip
        return 201, {"Id": self.containers[name]["Id"], "Warnings": []}

    def _inspect(self, name: str) -> tuple[int, Any]:
        found = self._container(name)
        return (200, found) if found else (404, {"message": f"No such container: {name}"})

    def _list(self, *, asked: dict[str, str]) -> tuple[int, Any]:
        assert asked["all"] == "true"
        listed = [
            {"Id": c["Id"], "Names": [c["Name"]], "Labels": c["Config"]["Labels"]} for c in self.containers.values()
        ]
        return 200, [thing for thing in listed if _marked(thing, asked)]

    def _start(self, name: str) -> tuple[int, Any]:
        found = self._container(name)
        if found is None:
            return 404, {"message": f"No such container: {name}"}
        if self.start_error:
            found["State"]["Error"] = self.start_error
            return 500, {"message": self.start_error}
        for network in found["NetworkSettings"]["Networks"].values():
            if network["NetworkID"] not in [n["Id"] for n in self.networks.values()]:
                return 404, {"message": f"network {network['NetworkID']} not found"}
        if found["State"]["Running"]:
            return 304, None
        found["State"] |= {
            "Status": "running", "Running": True, "Pid": 4242, "StartedAt": "2026-01-02T03:04:05.6Z", "Error": "",
            "Health": {"Status": "starting", "Log": []},
        }  # fmt: skip
        return 204, None

    def _stop(self, name: str) -> tuple[int, Any]:
        found = self._container(name)
        if found is None:
            return 404, {"message": f"No such container: {name}"}
        if not found["State"]["Running"]:
            return 304, None
        found["State"] |= {"Status": "exited", "Running": False, "Paused": False, "Pid": 0}
        return 204, None

    def _log(self, name: str, *, asked: dict[str, str]) -> tuple[int, Any]:
        """The stream of a container without a terminal: frames of kind, three zeros, length and text."""
        assert asked["tail"] == "all" or int(asked["tail"]) > 0
        if self._container(name) is None:
            return 404, {"message": f"No such container: {name}"}
        lines = [line.encode() for line in self.logs.get(name, "").splitlines(keepends=True)]
        return 200, b"".join(b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line for line in lines)

    def _restart(self, name: str) -> tuple[int, Any]:
        self._stop(name)
        return self._start(name)

    def _unpause(self, name: str) -> tuple[int, Any]:
        found = self._container(name)
        if found is None or not found["State"]["Paused"]:
            return 500, {"message": f"Container {name} is not paused"}
        found["State"] |= {"Status": "running", "Paused": False}
        return 204, None

    def _delete(self, name: str, *, asked: dict[str, str]) -> tuple[int, Any]:
        found = self._container(name)
        if found is None:
            return 404, {"message": f"No such container: {name}"}
        if found["State"]["Running"] and asked.get("force") != "true":
            return 409, {"message": "You cannot remove a running container"}
        del self.containers[found["Name"].removeprefix("/")]
        return 204, None

    def _network(self, name: str) -> tuple[int, Any]:
        found = self.networks.get(name)
        return (200, found) if found else (404, {"message": f"network {name} not found"})

    def _networks(self, *, asked: dict[str, str]) -> tuple[int, Any]:
        return 200, [n for n in self.networks.values() if _marked(n, asked)]

    def _new_network(self, *, body: dict[str, Any]) -> tuple[int, Any]:
        if unknown := set(body) - {"Name", "CheckDuplicate", "Driver", "Options", "Labels"}:
            return self._refuse(f"fields {sorted(unknown)}")
        if body["Name"] in self.networks:
            return 409, {"message": f"network with name {body['Name']} already exists"}
        made = {key: body[key] for key in ("Name", "Driver", "Options", "Labels")}
        self.networks[body["Name"]] = {"Id": self._new_id(), **made}
        return 201, {"Id": self.networks[body["Name"]]["Id"], "Warning": ""}

    def _connect(self, name: str, *, body: dict[str, Any]) -> tuple[int, Any]:
        if unknown := set(body) - {"Container", "EndpointConfig"}:
            return self._refuse(f"fields {sorted(unknown)}")
        found = self._container(body["Container"])
        if found is None or name not in self.networks:
            return 404, {"message": f"network {name} or container {body['Container']} not found"}
        if name in found["NetworkSettings"]["Networks"]:
            return 403, {"message": f"endpoint with name {body['Container']} already exists in network {name}"}
        found["NetworkSettings"]["Networks"][name] = {"NetworkID": self.networks[name]["Id"]}
        return 200, None

    def _no_network(self, name: str) -> tuple[int, Any]:
        if name not in self.networks:
            return 404, {"message": f"network {name} not found"}
        users = [
            c for c in self.containers.values() if c["State"]["Running"] and name in c["NetworkSettings"]["Networks"]
        ]
        if users:
            return 403, {"message": f"error while removing network: network {name} has active endpoints"}
        del self.networks[name]
        return 204, None

    def _volume(self, name: str) -> tuple[int, Any]:
        found = self.volumes.get(name)
        return (200, found) if found else (404, {"message": f"get {name}: no such volume"})

    def _volumes(self, *, asked: dict[str, str]) -> tuple[int, Any]:
        return 200, {"Volumes": [v for v in self.volumes.values() if _marked(v, asked)], "Warnings": None}

    def _new_volume(self, *, body: dict[str, Any]) -> tuple[int, Any]:
        if unknown := set(body) - {"Name", "Driver", "Labels"}:
            return self._refuse(f"fields {sorted(unknown)}")
        self.volumes.setdefault(body["Name"], {"Name": body["Name"], "Labels": body["Labels"]})
        return 201, self.volumes[body["Name"]]

    def _no_volume(self, name: str) -> tuple[int, Any]:
        if name not in self.volumes:
            return 404, {"message": f"get {name}: no such volume"}
        mounts = [m for c in self.containers.values() for m in c["HostConfig"]["Mounts"]]
        if any(mount["Source"] == name for mount in mounts):
            return 409, {"message": f"remove {name}: volume is in use"}
        del self.volumes[name]
        return 204, None

    def _image(self, name: str) -> tuple[int, Any]:
        found = self.images.get(name)
        return (200, found) if found else (404, {"message": f"No such image: {name}"})

    def _pull(self, *, asked: dict[str, str]) -> tuple[int, Any]:
        digest = asked["tag"]
        for reference in self.pullable:
            if reference.endswith(digest) and reference.startswith(asked["fromImage"]):
                self.images[reference] = {"Id": "sha256:pulled", **copy.deepcopy(IMAGE)}
                return 200, {"status": "Download complete"}
        return 404, {"message": f"manifest for {asked['fromImage']} not found"}

    def _load(self, *, asked: dict[str, str], body: bytes) -> tuple[int, Any]:
        """An archive of `docker save`, its one layer checked against the configuration as Docker does."""
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            files = {entry.name: archive.extractfile(entry).read() for entry in archive}
        (listed,) = json.loads(files["manifest.json"])
        config = json.loads(files[listed["Config"]])
        layers = [f"sha256:{hashlib.sha256(files[name]).hexdigest()}" for name in listed["Layers"]]
        if layers != config["rootfs"]["diff_ids"]:
            return 500, {"message": "invalid diffID for layer 0"}
        for reference in listed["RepoTags"]:
            self.images[reference] = {"Id": "sha256:loaded", "Config": config["config"], "RootFS": {"Layers": layers}}
        return 200, {"stream": f"Loaded image: {listed['RepoTags'][0]}"}

    def _no_image(self, name: str) -> tuple[int, Any]:
        if name not in self.images:
            return 404, {"message": f"No such image: {name}"}
        if any(c["Config"]["Image"] == name for c in self.containers.values()):
            return 409, {"message": "conflict: unable to remove repository reference: a container is using it"}
        del self.images[name]
        return 200, [{"Untagged": name}]

    pullable: tuple[str, ...] = ()


_ROUTES: dict[str, Any] = {
    "GET /info": FakeDocker._info,
    "GET /version": FakeDocker._version,
    "POST /containers/create": FakeDocker._create,
    "GET /containers/json": FakeDocker._list,
    "GET /containers/NAME/json": FakeDocker._inspect,
    "POST /containers/NAME/start": FakeDocker._start,
    "POST /containers/NAME/stop": FakeDocker._stop,
    "GET /containers/NAME/logs": FakeDocker._log,
    "POST /containers/NAME/restart": FakeDocker._restart,
    "POST /containers/NAME/unpause": FakeDocker._unpause,
    "DELETE /containers/NAME": FakeDocker._delete,
    "POST /networks/create": FakeDocker._new_network,
    "GET /networks": FakeDocker._networks,
    "POST /networks/NAME/connect": FakeDocker._connect,
    "GET /networks/NAME": FakeDocker._network,
    "DELETE /networks/NAME": FakeDocker._no_network,
    "POST /volumes/create": FakeDocker._new_volume,
    "GET /volumes": FakeDocker._volumes,
    "GET /volumes/NAME": FakeDocker._volume,
    "DELETE /volumes/NAME": FakeDocker._no_volume,
    "GET /images/NAME/json": FakeDocker._image,
    "POST /images/create": FakeDocker._pull,
    "POST /images/load": FakeDocker._load,
    "DELETE /images/NAME": FakeDocker._no_image,
}


def _marked(thing: dict[str, Any], asked: dict[str, str]) -> bool:
    wanted = json.loads(asked["filters"])
    assert set(wanted) == {"label"}
    own = [f"{key}={value}" for key, value in (thing.get("Labels") or {}).items()]
    return all(label in own for label in wanted["label"])


def _bytes(document: Any) -> bytes:
    if isinstance(document, bytes):
        return document
    return b"" if document is None else (document if isinstance(document, str) else json.dumps(document)).encode()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    engine: FakeDocker


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _any(self) -> None:
        body = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self._whole()
        status, document = self.server.engine.answer(self.command, self.path, body)
        text = _bytes(document)
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _whole(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_DELETE = _any  # noqa: N815  (the server's names)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_words: object) -> None:
        """Tests say themselves what went wrong."""


@contextmanager
def served(engine: FakeDocker, socket: Path) -> Iterator[str]:
    """The engine at a socket; yields its address for DOCKER_HOST."""
    with _Server(str(socket), _Handler) as server:
        server.engine = engine
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            thread.join()
