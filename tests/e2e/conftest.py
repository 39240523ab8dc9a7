"""Real clusters on this machine. They use the caches of the person who runs the tests: a cold build takes a quarter of
an hour.
"""

import contextlib
import functools
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.artifacts import go_modules
from host.drivers.embedded import images, parts, preflight, proof_end
from host.drivers.embedded.layout import Layout
from host.system import command
from stacks import names
from stacks.catalog import load
from stacks.errors import HostError
from stacks.plan import EmbeddedPlan, canonical
from tests.conftest import ROOT

_HOME = pwd.getpwuid(os.getuid()).pw_dir


class Cluster:
    """One cluster of a test, driven through the frozen entry as a stack would, from the checkout `root`."""

    root = ROOT

    def __init__(
        self, stack: str, slot: int, images: tuple[str, ...] = (), network_policies: str | None = None
    ) -> None:
        name = f"{names.PART_OF}-{stack}"
        self.plan = EmbeddedPlan(
            name=name, kubeconfig=names.kubeconfig(stack), identifier=names.cluster_identifier(stack), node=name,
            kubernetes="v1.36.3", containerd="v2.4.2", etcd="v3.7.3", address=names.embedded_node_address(slot),
            slot=slot, images=images,
            provider="4.25.0", namespace=names.namespace(stack), network_policies=network_policies,
        )  # fmt: skip
        self.layout = Layout(stack, self.plan)
        self.seconds = 0.0

    def change(self, **fields: object) -> None:
        """Gives the next verbs another plan."""
        self.plan = self.plan.model_copy(update=fields)
        self.layout = Layout(self.layout.stack, self.plan)

    def host(
        self, verb: str, *, epoch: int = 0, kill_at: int | None = None, fails: bool = False, by_stack: bool = True
    ) -> dict:
        """Runs one verb; returns its JSON line, or {} where it was killed."""
        environment = {
            **os.environ,
            "LAB_STACK": self.layout.stack,
            "LAB_SPEC": canonical(self.plan),
            "LAB_EPOCH": str(epoch),
        }
        environment |= {"LAB_BY_STACK": str(int(by_stack))}
        words = (
            ["-m", "host", "embedded", verb] if kill_at is None else ["-m", "tests.support.killed", str(kill_at), verb]
        )
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=self.root,
            env=environment,
            timeout=1800,
            check=False,
        )
        self.seconds, self.said = time.monotonic() - begin, done.stderr
        if kill_at is not None and done.returncode == -signal.SIGKILL:
            return {}
        assert fails == bool(done.returncode), done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        built = parts.available(self.plan, self.layout.cache)
        assert built
        return command.run(
            [built.kubernetes / "kubectl", "--kubeconfig", self.layout.kubeconfig, *words],
            timeout=120,
            text=text,
            check=check,
        ).stdout

    def pid(self, program: str) -> int:
        return int(self.host("status")["programs"][program]["pid"])

    def reaches(self, pod: str, address: str, port: int, namespace: str = "e2e") -> bool:
        """Whether a connection can be made from a pod, or from the `node`."""
        inside = f"--net={self._network_of(pod, namespace)}"
        words = ["nsenter", inside, "--", sys.executable, "-I", proof_end.__file__, "ask", address, str(port)]
        return bool(json.loads(command.run(words, timeout=20).stdout)[str(port)])

    def inside(self, pod: str, *words: str, namespace: str = "e2e") -> str:
        """What a program says in the network namespace of a pod."""
        return command.run(["nsenter", f"--net={self._network_of(pod, namespace)}", *words], timeout=20).stdout

    def _network_of(self, pod: str, namespace: str) -> str:
        if pod == "node":
            return str(self.layout.network_namespace)
        uid = self.kubectl("get", "pod", "-n", namespace, pod, "-o", "jsonpath={.metadata.uid}")
        for found in Path("/proc").glob("[0-9]*/cgroup"):
            with contextlib.suppress(OSError):
                if f"pod{uid}" in found.read_text():
                    return f"/proc/{found.parent.name}/ns/net"
        raise AssertionError(f"no process of {pod}")

    def containerd_import(self, archive: Path) -> None:
        built = parts.available(self.plan, self.layout.cache)
        assert built
        images.ctr(self.layout, built, "images", "import", str(archive))

    def pause(self) -> str:
        built = parts.available(self.plan, self.layout.cache)
        assert built
        return images.pause_reference(built)


def policies_version() -> str | None:
    """The version of kube-network-policies that the catalogue names, where it is built; else None."""
    version = str(load().fact("embedded.networkPolicies").value)
    plan = Cluster("e2e-p", 60, network_policies=version).plan
    cache = Path(_HOME) / ".cache" / names.PART_OF
    return version if go_modules.built(parts.modules(plan)["network_policies"], cache) else None


@pytest.fixture(autouse=True)
def _real_home(_own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", _HOME)


@pytest.fixture(autouse=True)
def _where_clusters_can_be() -> None:
    """Skips where the machine cannot carry a cluster, with the reasons that `lab up` would give."""
    if os.environ.get("LAB_E2E") == "0":
        pytest.skip("LAB_E2E=0 leaves real clusters out")
    if os.geteuid() != 0:
        pytest.skip("the tests of real clusters look into their namespaces: run them as root")
    if reason := _unfit():
        (pytest.fail if os.environ.get("LAB_E2E") == "1" else pytest.skip)(reason)


@functools.cache
def _unfit() -> str:
    layout = Cluster("e2e-a", 62).layout
    try:
        preflight.check(layout, warm=parts.available(layout.plan, layout.cache) is not None)
    except HostError as error:
        return str(error)
    return ""


@pytest.fixture
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    """Two clusters that are not there yet, in the last slots; whatever the test leaves is removed."""
    pair = (Cluster("e2e-a", 62), Cluster("e2e-b", 63))
    yield pair
    for cluster in pair:
        cluster.host("destroy")
        (cluster.layout.state.parent / "cluster.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cluster.layout.state.parent.rmdir()


@pytest.fixture
def echo_image(tmp_path: Path) -> tuple[str, Path]:
    """A server of one static program, as an image archive."""
    # the archive writer's one file name
    module = go_modules.GoModule(ROOT / "tests" / "e2e" / "echo", {"pause": "."}, "v1")
    built = go_modules.build(module, tmp_path)
    reference, archive = "lab.local/echo:1", tmp_path / "echo.tar"
    images.write_pause(archive, (built / "pause").read_bytes(), reference)
    return reference, archive


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for the model server, one static program: built once, since each build compiles Go's library
    again.
    """
    module = go_modules.GoModule(ROOT / "tests/e2e/standin", {"pause": "."}, "v1")
    return go_modules.build(module, tmp_path_factory.mktemp("stand-in")) / "pause"
