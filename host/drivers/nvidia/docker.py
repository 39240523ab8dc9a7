"""Docker knows the NVIDIA runtime: its configuration, and a restart only where one is needed and was agreed to."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from host.drivers.nvidia import daemon_json
from host.drivers.nvidia.host import Host, refused, replace
from host.system import command, state
from host.system.progress import step
from stacks.errors import HostError
from stacks.plan import NvidiaStep

CONFIG = "/etc/docker/daemon.json"
BACKUP = f"{CONFIG}.before-local-ai-lab"
RESTART = "docker-restart"
"""The record's word for a restart that is due."""
ACCEPTED = "accepted-restart"
"""The file of the stack's state that names the containers which may be stopped."""

_CURABLE = frozenset({"runtime-missing", "runtime-not-restarted", "runtime-path"})
_PATIENCE = 30  # looks at a daemon that starts
_PAUSE = 1.0  # seconds between them


def needed(host: Host) -> bool:
    """Whether the configuration or a restart is missing. Raises HostError where Docker itself is not usable."""
    layer, due = host.probe().runtime(), host.record.pending(RESTART)
    if due and layer.signature == "docker-down":  # a run was killed in the middle of the restart
        return True
    if layer.state == "fail" and layer.signature not in _CURABLE:
        raise refused(layer)
    return layer.state == "fail" or due


def would_stop(host: Host, steps: Sequence[NvidiaStep]) -> tuple[str, ...]:
    """The running containers that a restart would stop; none where no restart is due."""
    probe = host.probe()
    if "docker" not in host.wanted.steps or probe.desktop or not {"toolkit", "docker"} & set(steps):
        return ()
    ran = host.machine.run(["docker", "ps", "--format", "{{.Names}}"])
    return tuple(sorted(ran.output.split())) if ran.ok else ()


def require_leave(host: Host, steps: Sequence[NvidiaStep]) -> None:
    """Raises HostError where a restart would stop containers that nobody agreed to stop."""
    running = would_stop(host, steps)
    accepted = state.folder(host.stack) / ACCEPTED
    allowed = json.loads(accepted.read_text(encoding="utf-8")) if accepted.exists() else []
    if surprised := [name for name in running if name not in allowed]:
        raise HostError(
            f"Docker must be restarted once, which stops the running containers {', '.join(surprised)}: nothing was "
            "changed",
            remedy=f"./lab up {host.stack} names them and asks; or stop them first: docker stop {' '.join(surprised)}",
        )


def configure(host: Host) -> None:
    """Docker knows the runtime afterwards. Where it does not come back, its old configuration is put back."""
    if not needed(host):
        return
    path = host.at(CONFIG)
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        merged = daemon_json.with_nvidia(before, host.machine.exists)
    except ValueError as error:
        raise HostError(
            f"{CONFIG} cannot be read: {error}; it was not changed",
            remedy=f"python3 -m json.tool {CONFIG} shows where; correct it, then: ./lab up {host.stack}",
        ) from None
    host.record.begin(RESTART)
    if merged.changed:
        if before is not None and not host.at(BACKUP).exists():
            host.write(BACKUP, before, "docker")
        host.edit(CONFIG, merged.text, "docker")
    with step("restarting Docker"):
        try:
            _restart(host)
        except command.CommandFailed as failed:
            if merged.changed:
                _put_back(host, before)
            raise HostError(
                f"Docker does not start with the NVIDIA runtime; {CONFIG} is as it was. {failed.message}",
                remedy="journalctl -u docker -n 50 says why",
            ) from None
    layer = host.probe().runtime()
    if layer.state == "fail":
        raise refused(layer, "Docker was restarted, and ")
    host.record.done(RESTART)
    host.changed.append("docker restarted")


def _restart(host: Host) -> None:
    systemd = host.machine.exists("/run/systemd/system")
    if not systemd and not host.machine.exists("/etc/init.d/docker"):
        raise HostError(
            "Docker must be restarted, and neither systemd nor /etc/init.d/docker is here",
            remedy=f"restart it as you started it, then: ./lab up {host.stack}. Under WSL2: [boot] systemd=true in "
            "/etc/wsl.conf, then in Windows: wsl --shutdown",
        )
    command.run(["systemctl", "restart", "docker"] if systemd else ["service", "docker", "restart"], timeout=180)
    for _ in range(_PATIENCE):
        if host.probe().docker is not None:
            return
        time.sleep(_PAUSE)


def _put_back(host: Host, before: str | None) -> None:
    path = host.at(CONFIG)
    if before is None:
        path.unlink(missing_ok=True)
    else:
        replace(path, before.encode(), path.stat().st_mode & 0o777)
    words = ["systemctl", "restart", "docker"] if host.machine.exists("/run/systemd/system") else ["service", "docker"]
    command.run(words if len(words) > 2 else [*words, "restart"], timeout=180, check=False)
