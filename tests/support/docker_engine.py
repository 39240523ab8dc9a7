"""A Docker engine of Debian's docker.io for tests: its own data, socket and addresses, no package installed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.artifacts import debian

_PACKAGES = ("docker.io", "iptables")
_IPTABLES = ("iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore")
_START_SECONDS = 60.0


@contextmanager
def running(folder: Path, cache: Path) -> Iterator[dict[str, str]]:
    """Starts the engine below `folder`, which must be on a real file system; yields DOCKER_HOST and a PATH with its own
    `docker`, and ends it with all that it runs. Not on a machine that has a Docker engine of its own: both would share
    a bridge.
    """
    assert not Path("/sys/class/net/docker0").exists(), "this machine has a Docker engine, or the rest of one: docker0"
    prefix = debian.unpack(_PACKAGES, cache)
    tools = folder / "tools"
    tools.mkdir(parents=True)
    for name in _IPTABLES:  # links that Debian's package makes in a script, which does not run here
        (tools / name).symlink_to(prefix / "root/usr/sbin/xtables-nft-multi")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(tools), *debian.search_path(prefix), os.environ["PATH"])),
        "LD_LIBRARY_PATH": os.pathsep.join(debian.library_path(prefix)),
        "XTABLES_LIBDIR": str(next((prefix / "root/usr/lib").glob("*-linux-gnu/xtables"))),
    }
    socket = folder / "docker.sock"
    words = [
        prefix / "root/usr/sbin/dockerd", "--data-root", folder / "data", "--exec-root", folder / "run",
        "--pidfile", folder / "docker.pid", "--host", f"unix://{socket}",
        "--bip", "10.233.0.1/24", "--default-address-pool", "base=10.233.64.0/18,size=24",
        "--userland-proxy-path", prefix / "root/usr/sbin/docker-proxy",
        "--ip-forward=false",  # with it, the engine would switch forwarding on and drop what others forward
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen([str(w) for w in words], stdout=log, stderr=log, env=environment)
    try:
        end = time.monotonic() + _START_SECONDS
        while not socket.exists() or not _answers(socket, environment):
            assert engine.poll() is None and time.monotonic() < end, (folder / "dockerd.log").read_text()[-2000:]
            time.sleep(0.2)
        yield {"DOCKER_HOST": f"unix://{socket}", "PATH": environment["PATH"]}
    finally:
        engine.terminate()
        engine.wait(timeout=60)
        _forget_network(environment)


def _forget_network(environment: dict[str, str]) -> None:
    """Takes away what the engine leaves when it ends: its rules, their chains and its bridge."""

    def run(*words: str) -> str:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout

    for table in ("filter", "nat"):
        lines = run("iptables-save", "-t", table).splitlines()
        for rule in (line for line in lines if line.startswith("-A ") and re.search(r"DOCKER|docker0|10\.233\.", line)):
            run("iptables", "-t", table, "-D", *shlex.split(rule)[1:])
        for chain in (line.split()[0][1:] for line in lines if line.startswith(":DOCKER")):
            run("iptables", "-t", table, "-X", chain)
    run("ip", "link", "delete", "docker0")


def _answers(socket: Path, environment: dict[str, str]) -> bool:
    words = ["docker", "--host", f"unix://{socket}", "version"]
    return subprocess.run(words, env=environment, capture_output=True, timeout=30, check=False).returncode == 0
