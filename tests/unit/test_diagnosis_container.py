"""Why a container of plain Docker does not serve: every sentence of the table, and every state."""

from __future__ import annotations

from typing import Any

import pytest

from probes.diagnosis import container_problem, docker_problem, explain
from probes.diagnosis.docker_signatures import DOCKER

# As Docker 20.10 to 29 and Docker Desktop print them; the first, fourth and fifth were seen on Docker 20.10.24.
SAID = {
    "oom-killed": "exit 137, OOMKilled",
    "port-taken": "driver failed programming external connectivity on endpoint box-m (6f1c): Bind for 127.0.0.1:30080 "
    "failed: port is already allocated",
    "no-model-cache": 'invalid mount config for type "bind": bind source path does not exist: /srv/models',
    "not-shared": "Mounts denied: The path /srv/models is not shared from the host and is not known to Docker.",
    "disk-full": "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
    "exec-format": "standard_init_linux.go:228: exec user process caused: exec format error",
}


@pytest.mark.parametrize("ident", SAID)
def test_each_sentence_has_its_meaning(ident: str) -> None:
    (wanted,) = [s for s in DOCKER if s.ident == ident]
    found = docker_problem(SAID[ident])
    assert found is not None
    assert found.what.split(" /")[0] == wanted.what.split(" {")[0]
    assert found.remedy
    assert explain(SAID[ident]).what == found.what


def test_every_sentence_of_the_table_is_tried() -> None:
    assert {s.ident for s in DOCKER} == set(SAID)


def test_nvidias_sentences_are_known_too() -> None:
    found = docker_problem('could not select device driver "" with capabilities: [[gpu]]')
    assert found is not None
    assert "NVIDIA container toolkit" in found.what
    assert docker_problem("a sentence of nobody") is None


def _container(status: str, *, health: str = "", restarts: int = 0, **state: Any) -> dict[str, Any]:
    checked = {"Health": {"Status": health, "Log": [{"Output": "TimeoutError: timed out"}]}} if health else {}
    return {"State": {"Status": status, "ExitCode": 0, **checked, **state}, "RestartCount": restarts}


LOG = "ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity\n"


@pytest.mark.parametrize(
    ("container", "log", "what", "final"),
    [
        (_container("running", health="starting"), "", "the engine is still loading", False),
        (_container("running", health="unhealthy"), "", "its health check fails", False),
        (_container("running", health="starting", restarts=3), LOG, "the card ran out of memory", True),
        (_container("restarting", restarts=1), LOG, "the card ran out of memory", False),
        (_container("restarting", restarts=1), "", "it keeps ending: started again once", False),
        (_container("exited", ExitCode=137, OOMKilled=True), "", "the container took more memory than its limit", True),
        (_container("exited", ExitCode=0), "", "it does not run: exited", True),
        (_container("paused"), "", "it does not run: paused", True),
        (_container("created", Error=SAID["port-taken"]), "", "another container or program has", False),
        (_container("created"), "", "it was made and never started", True),
    ],
)
def test_each_state_has_its_cause(container: dict[str, Any], log: str, what: str, final: bool) -> None:
    found = container_problem(container, log=log)
    assert found is not None
    assert (found.what[: len(what)], found.final) == (what, final)
    assert found.remedy


def test_a_healthy_container_has_no_problem() -> None:
    assert container_problem(_container("running", health="healthy", restarts=5)) is None
