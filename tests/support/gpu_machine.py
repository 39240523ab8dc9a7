"""A machine with NVIDIA cards: strict stand-ins for nvidia-smi, nvidia-ctk, docker, systemctl, apt-get, dpkg and dnf
over a file tree and one state file, so that a killed process leaves what a killed process would.

Each program accepts the uses that its documentation names, of those that the product makes; anything else ends with 64
and says so. Outputs are recorded or documented ones: nvidia-smi 580.65 (NVIDIA's nvidia-smi manual, --help-query-gpu),
nvidia-ctk 1.17 to 1.20 (`--version` as its README prints it, `cdi list` as NVIDIA's CDI page prints it), docker 28 and
29 (`docker info --format '{{json .}}'`; without a daemon as docker 28.2.2 printed it), systemctl 252 (is-enabled),
service of init-system-helpers 1.65, apt-get 2.6 (Debian 12), dpkg 1.21, dnf 4.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.system import command, files
from probes.nvidia.host import TOOLKIT_PACKAGES

Answer = tuple[int, str]
KEY = (Path(__file__).parents[1] / "data" / "nvidia" / "repository-key.asc").read_text()
"""Made with gpg 2.2.40 for these tests; its private half was thrown away."""
UUIDS = ("GPU-5a1f3c52-0001-4a6b-9c3d-000000000001", "GPU-5a1f3c52-0002-4a6b-9c3d-000000000002")
_FIELDS = {"index", "name", "uuid", "driver_version", "memory.total", "memory.free", "compute_cap"}
_NO_PROGRAM = 127
_NOT_DOCUMENTED = 64
_SPEC, _DAEMON = "var/run/cdi/nvidia.yaml", "etc/docker/daemon.json"
_REPOSITORY = "nvidia.github.io/libnvidia-container"


@dataclass
class GpuMachine:
    """`folder` holds `root`, the machine's files, and `state.json`, the rest of it."""

    folder: Path
    points: int = 0
    kill_at: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def change(self, **parts: Any) -> None:
        state = self.state
        for name, value in parts.items():
            state[name] = {**state[name], **value} if isinstance(value, dict) and state.get(name) else value
        (self.folder / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))

    def file(self, path: str, text: str = "") -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def point(self) -> None:
        """A place where a run can be killed."""
        self.points += 1
        if self.points == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def snapshot(self) -> dict[str, str]:
        """Everything that a run may have changed: file tree, packages, units, the daemon."""
        tree = {
            str(p.relative_to(self.root)): p.read_text(errors="replace") for p in self.root.rglob("*") if p.is_file()
        }
        tree = {path: text for path, text in tree.items() if not path.startswith("run/lock/")}
        return {**tree, "state.json": json.dumps({**self.state, "log": []}, sort_keys=True)}

    # the stand-in for host.system.command.run

    def run(self, arguments: Sequence[Any], *, timeout: float, check: bool = True, **named: Any) -> Any:
        assert timeout > 0
        assert set(named) <= {"environment", "root"}, named
        words = [str(a) for a in arguments]
        self.point()
        code, output = self.answer(words)
        self.point()
        if code == _NO_PROGRAM or (check and code):
            raise command.CommandFailed(words, code, output)
        return subprocess.CompletedProcess(words, code, output, "")

    def answer(self, words: list[str]) -> Answer:
        programs: dict[str, Callable[[list[str]], Answer | None]] = {
            "nvidia-smi": self._smi, "nvidia-ctk": self._ctk, "docker": self._docker, "systemctl": self._systemctl,
            "apt-get": self._apt, "dpkg-query": self._dpkg_query, "dpkg": self._dpkg, "dnf": self._dnf,
            "service": self._service,
        }  # fmt: skip
        name = words[0]
        missing = (_NO_PROGRAM, f"{name}: not found")
        if name not in programs or name in self.state["without"]:
            return missing
        found = programs[name](words[1:])
        return found or (_NOT_DOCUMENTED, f"stand-in: not a documented use: {' '.join(words)}")

    # NVIDIA

    def _smi(self, words: list[str]) -> Answer | None:
        state = self.state
        if state["driver"] is None:
            return _NO_PROGRAM, "nvidia-smi: not found"
        if state["driverSays"]:
            return 9, state["driverSays"]
        if words == ["-L"]:
            lines = [f"GPU {n}: {state['card']} (UUID: {uuid})" for n, uuid in enumerate(state["cards"])]
            return 0, "\n".join(lines) + "\n"
        query = words[0].removeprefix("--query-gpu=").split(",") if words else []
        if len(words) != 2 or set(query) - _FIELDS or words[1] != "--format=csv,noheader,nounits":
            return None
        values = {"name": state["card"], "driver_version": state["driver"], "memory.total": "24564"}
        values |= {"memory.free": "24002", "compute_cap": "8.6"}
        rows = [{**values, "index": str(n), "uuid": uuid} for n, uuid in enumerate(state["cards"])]
        return 0, "".join(", ".join(row[field] for field in query) + "\n" for row in rows)

    def _ctk(self, words: list[str]) -> Answer | None:
        package = self.state["packages"].get("nvidia-container-toolkit-base")
        if package is None:
            return _NO_PROGRAM, "nvidia-ctk: not found"
        if words == ["--version"]:
            version = package["version"].partition("-")[0]
            return 0, f"NVIDIA Container Toolkit CLI version {version}\ncommit: 0123456789abcdef\n"
        if words == ["cdi", "list"]:
            spec = self.root / _SPEC
            devices = spec.read_text().splitlines() if spec.exists() else []
            head = f'time="2026-11-26T20:00:00Z" level=info msg="Found {len(devices)} CDI devices"\n'
            return 0, head + "".join(f"{device}\n" for device in devices)
        if words == ["cdi", "generate", f"--output=/{_SPEC}"]:
            self._write_spec()
            return 0, ""
        if words == ["system", "create-dev-char-symlinks", "--create-all"]:
            for number, _ in enumerate(self.state["cards"]):
                self.file(f"dev/char/195:{number}")
                self.point()
            return 0, ""
        return None

    def _write_spec(self) -> None:
        cards, wsl = self.state["cards"], self.state["wsl"]
        names = ["all"] if wsl else [*map(str, range(len(cards))), *cards, "all"]
        self.file(_SPEC, "".join(f"nvidia.com/gpu={name}\n" for name in names))

    # Docker

    def _docker(self, words: list[str]) -> Answer | None:
        docker = self.state["docker"]
        if docker is None:
            return _NO_PROGRAM, "docker: not found"
        if not docker["running"]:
            empty = '{"ID":"","Runtimes":null,"ServerVersion":""}\n' if words[0] == "info" else ""  # 28.2.2, shortened
            return 1, f"{empty}Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?"
        if words == ["info", "--format", "{{json .}}"]:
            return 0, json.dumps({
                "ServerVersion": docker["version"], "OperatingSystem": docker["system"], "DefaultRuntime": "runc",
                "Runtimes": {name: {"path": name} for name in docker["runtimes"]}, "DockerRootDir": "/var/lib/docker",
                "CgroupDriver": docker["cgroups"], "CgroupVersion": "2", "SecurityOptions": docker["security"],
            })  # fmt: skip
        if words == ["ps", "--format", "{{.Names}}"]:
            return 0, "".join(f"{name}\n" for name in docker["containers"])
        start = ["run", "--rm", "--pull=never", "--gpus=all", "--entrypoint=nvidia-smi"]
        if words[:5] == start and words[6:] == ["-L"]:
            if not docker["hook"]:
                error = 'could not select device driver "" with capabilities: [[gpu]].'
                return 125, f"docker: Error response from daemon: {error}"
            return self._smi(["-L"])
        return None

    # the system

    def _systemctl(self, words: list[str]) -> Answer | None:
        if not (self.root / "run/systemd/system").exists():
            return 1, "System has not been booted with systemd as init system (PID 1). Can't operate."
        units = self.state["units"]
        if words == ["restart", "docker"]:
            return self._restart_docker()
        if words[:1] == ["is-enabled"] and len(words) == 2:
            found = units.get(words[1])
            return (0 if found == "enabled" else 1, f"{found}\n") if found else (4, "not-found\n")
        if words[:2] == ["enable", "--now"] and set(words[2:]) <= set(units):
            for unit in words[2:]:
                self.change(units={unit: "enabled"})
                self.point()
            self._write_spec()
            return 0, ""
        if words == ["restart", "nvidia-cdi-refresh.service"] and words[1] in units:
            self._write_spec()
            return 0, ""
        return None

    def _service(self, words: list[str]) -> Answer | None:
        there = (self.root / "etc/init.d/docker").exists()
        return self._restart_docker() if there and words == ["docker", "restart"] else None

    def _restart_docker(self) -> Answer:
        path = self.root / _DAEMON
        try:
            runtimes = json.loads(path.read_text()).get("runtimes", {}) if path.exists() else {}
        except ValueError as error:
            self.change(docker={"running": False})
            return 1, f"unable to configure the Docker daemon with file /etc/docker/daemon.json: {error}"
        if self.state["docker"]["refuses"] and "nvidia" in runtimes:
            self.change(docker={"running": False})
            return 1, "Job for docker.service failed because the control process exited with error code."
        self.change(docker={"running": False, "containers": []})
        self.point()
        hook = "nvidia-container-toolkit" in self.state["packages"]
        names = ["io.containerd.runc.v2", "runc", *runtimes]
        self.change(docker={"running": True, "runtimes": sorted(names), "hook": hook})
        return 0, ""

    def _sources(self) -> list[str]:
        folder = self.root / "etc/apt/sources.list.d"
        lines = [line for p in sorted(folder.glob("*")) for line in p.read_text().splitlines()]
        return [line for line in lines if _REPOSITORY in line and not line.startswith("#")]

    def _apt(self, words: list[str]) -> Answer | None:
        options: list[str] = []
        while words[:1] == ["-o"]:
            options, words = [*options, words[1]], words[2:]
        known = {"Dir::Etc::sourcelist", "Dir::Etc::sourceparts", "APT::Get::List-Cleanup", "DPkg::Lock::Timeout"}
        if {option.partition("=")[0] for option in options} - known:
            return None
        if says := self.state["aptSays"]:
            return 100, says
        keys = {line.partition("signed-by=")[2].partition("]")[0] for line in self._sources()}
        alone = "Dir::Etc::sourceparts=-" in options
        if len(keys) > 1 and not alone:
            return 100, (
                "E: Conflicting values set for option Signed-By regarding source "
                f"https://{_REPOSITORY}/stable/deb/amd64/ /: {' != '.join(sorted(keys))}"
            )
        if words == ["update"]:
            return 0, "Reading package lists...\n"
        if words[:3] != ["--yes", "--no-install-recommends", "install"] or not words[3:]:
            return None
        if any(package["status"] != "ii" for package in self.state["packages"].values()):
            return 100, "E: dpkg was interrupted, you must manually run 'sudo dpkg --configure -a' to correct it."
        if not keys or not all((self.root / key.lstrip("/")).exists() for key in keys):
            return 100, "E: Unable to locate package nvidia-container-toolkit"
        return self._install([word.partition("=")[::2] for word in words[3:]], unpacked="iU")

    def _install(self, wanted: Sequence[tuple[str, str]], *, unpacked: str) -> Answer:
        for name, version in wanted:
            if version not in self.state["available"]:
                return 100, f"E: Version '{version}' for '{name}' was not found"
        for status in (unpacked, "ii"):
            for name, version in wanted:
                self.change(packages={name: {"status": status, "version": version}})
                self.point()
        if (self.root / "run/systemd/system").exists():  # the packages' own scripts, as of 1.18
            self.change(units={"nvidia-cdi-refresh.path": "enabled", "nvidia-cdi-refresh.service": "enabled"})
            self._write_spec()
        return 0, ""

    def _dpkg_query(self, words: list[str]) -> Answer | None:
        if words[:2] != ["--show", "--showformat=${Package} ${db:Status-Abbrev} ${Version}\\n"]:
            return None
        packages = self.state["packages"]
        lines = [f"{n} {packages[n]['status']}  {packages[n]['version']}" for n in words[2:] if n in packages]
        missing = [f"dpkg-query: no packages found matching {n}" for n in words[2:] if n not in packages]
        return (1 if missing else 0), "\n".join([*lines, *missing]) + "\n"

    def _dpkg(self, words: list[str]) -> Answer | None:
        if words[:1] != ["--configure"] or not set(words[1:]) <= set(self.state["packages"]):
            return None
        for name in words[1:]:
            package = self.state["packages"][name]
            self.change(packages={name: {**package, "status": "ii"}})
            self.point()
        return 0, ""

    def _dnf(self, words: list[str]) -> Answer | None:
        if words[:2] != ["--assumeyes", "install"]:
            return None
        folder = self.root / "etc/yum.repos.d"
        if not any(_REPOSITORY in p.read_text() for p in folder.glob("*.repo")):
            return 1, "Error: Unable to find a match: nvidia-container-toolkit"
        suffix = "-1.19.1-1"
        return self._install([(w.removesuffix(suffix), suffix.lstrip("-")) for w in words[2:]], unpacked="ii")


DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def machine(folder: Path, *, wsl: bool = False, systemd: bool = True, toolkit: str | None = None) -> GpuMachine:
    """A Debian machine with a driver, Docker and one card; `toolkit` is the release that is installed."""
    found = GpuMachine(folder)
    packages = {name: {"status": "ii", "version": f"{toolkit}-1"} for name in TOOLKIT_PACKAGES} if toolkit else {}
    state = {
        "card": "NVIDIA GeForce RTX 3090", "cards": [UUIDS[0]], "driver": "580.65.06", "driverSays": "", "wsl": wsl,
        "packages": packages, "available": ["1.19.1-1"], "aptSays": "", "units": {}, "without": ["dnf"], "log": [],
        "docker": {
            "running": True, "version": "28.5.1", "system": "Debian GNU/Linux 12 (bookworm)", "containers": [],
            "runtimes": ["io.containerd.runc.v2", "runc"], "cgroups": "systemd", "security": [], "hook": False,
            "refuses": False,
        },
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))
    found.file("etc/os-release", DEBIAN)
    kernel = "5.15.167.4-microsoft-standard-WSL2" if wsl else "6.1.0-25-amd64"
    found.file("proc/version", f"Linux version {kernel} (gcc 12)\n")
    if wsl:
        found.file("dev/dxg")
    else:
        for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
            found.file(f"dev/{name}")
    if systemd:
        (found.root / "run/systemd/system").mkdir(parents=True)
    if toolkit and tuple(map(int, toolkit.split("."))) >= (1, 18) and systemd:
        found.change(units={"nvidia-cdi-refresh.path": "enabled", "nvidia-cdi-refresh.service": "enabled"})
    return found


WRITERS = ("write_atomic_bytes",)


def attach(found: GpuMachine, set_attribute: Callable[[Any, str, Any], None]) -> None:
    """From now on the product's programs and state writes are this machine's; `set_attribute` is monkeypatch's."""
    set_attribute(command, "run", found.run)
    write = files.write_atomic_bytes

    def counted(*arguments: Any, **named: Any) -> None:
        found.point()
        write(*arguments, **named)
        found.point()

    set_attribute(files, "write_atomic_bytes", counted)
