"""A dead cluster runs the bootstrap again; a new one in its place is never taken for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from host.drivers import epoch
from host.system import state
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import HostError

STACK = "dev"


def _kubeconfig() -> None:
    path = Path(names.kubeconfig(STACK)).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_a_machine_that_never_had_a_cluster_starts_at_nought() -> None:
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 0


def test_a_living_cluster_keeps_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(epoch, "cluster_uid", lambda _stack, **_options: "ours")
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 3


def test_a_dead_cluster_counts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(epoch, "cluster_uid", lambda _stack, **_options: None)
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 4


def test_a_cluster_that_vanished_with_its_kubeconfig_counts_up() -> None:
    state.record(STACK, 3, "ours")
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 4


def test_a_cluster_that_its_stack_removed_does_not_count_up() -> None:
    state.record(STACK, 3, "")
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 3


def test_another_cluster_stops_the_program_and_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(epoch, "cluster_uid", lambda _stack, **_options: "theirs")
    with pytest.raises(epoch.ClusterReplaced, match="is gone") as raised:
        epoch.wanted_epoch(STACK, "nobody-knows")
    assert "./lab up dev" in raised.value.remedy
    epoch.accept_replacement(STACK)
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 3
    assert epoch.recorded_uid(STACK) == "theirs"


Answer = Callable[[httpx.Request], httpx.Response]
OURS = httpx.Response(200, json={"metadata": {"uid": "ours"}})
# What a real API server answers to a GET of a node that is not there (Kubernetes 1.36, apimachinery's Status).
NOT_FOUND = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}
FORBIDDEN = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "reason": "Forbidden",
    "code": 403,
}


def _node(status: str) -> httpx.Response:
    return httpx.Response(200, json={"status": {"conditions": [{"type": "Ready", "status": status}]}})


def _fails(error: Exception) -> Any:
    raise error


def _cluster(monkeypatch: pytest.MonkeyPatch, namespace: Answer, node: Answer) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return node(request) if "/nodes" in request.url.path else namespace(request)

    api = KubernetesApi(httpx.Client(transport=httpx.MockTransport(answer), base_url="https://cluster"))
    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", classmethod(lambda *_arguments, **_options: api))
    state.record(STACK, 3, "ours")
    _kubeconfig()


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (lambda _r: _node("True"), 3),
        (lambda _r: _node("False"), 4),
        (lambda _r: _node("Unknown"), 4),
        (lambda _r: httpx.Response(404, json=NOT_FOUND), 4),
        (lambda _r: httpx.Response(403, json=FORBIDDEN), 4),
        (lambda _r: httpx.Response(200, text="not JSON"), 4),
        (lambda _r: _fails(httpx.ReadTimeout("timed out")), 4),
    ],
)
def test_the_embedded_driver_is_alive_while_its_node_reports(
    monkeypatch: pytest.MonkeyPatch, node: Answer, wanted: int
) -> None:
    _cluster(monkeypatch, lambda _r: OURS, node)
    assert epoch.wanted_epoch(STACK, "embedded") == wanted


def _nodes(*ready: str) -> httpx.Response:
    said = [[{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": status}] for status in ready]
    return httpx.Response(200, json={"items": [{"status": {"conditions": conditions}} for conditions in said]})


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        (lambda _r: _nodes("True"), 3),
        (lambda _r: _nodes("True", "True"), 3),
        (lambda _r: _nodes("True", "Unknown"), 4),
        (lambda _r: _nodes("False"), 4),
        (lambda _r: _nodes(), 4),
        (lambda _r: httpx.Response(200, json={"items": [{"status": {}}]}), 4),
        (lambda _r: httpx.Response(403, json=FORBIDDEN), 4),
        (lambda _r: _fails(httpx.ReadTimeout("timed out")), 4),
    ],
)
def test_a_minikube_profile_is_alive_while_all_its_nodes_report(
    monkeypatch: pytest.MonkeyPatch, nodes: Answer, wanted: int
) -> None:
    _cluster(monkeypatch, lambda _r: OURS, nodes)
    assert epoch.wanted_epoch(STACK, "minikube") == wanted


@pytest.mark.parametrize("driver", ["models", "nobody-knows"])
def test_a_living_cluster_of_another_driver_is_not_asked_for_the_embedded_node(
    monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    _cluster(monkeypatch, lambda _r: OURS, lambda _r: _fails(AssertionError("asked for a node")))
    assert epoch.wanted_epoch(STACK, driver) == 3


@pytest.mark.parametrize(
    "namespace",
    [
        lambda _r: httpx.Response(404, json=NOT_FOUND),
        lambda _r: httpx.Response(403, json=FORBIDDEN),
        lambda _r: httpx.Response(200, json=[]),
        lambda _r: _fails(httpx.ConnectTimeout("timed out")),
        lambda _r: _fails(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")),
    ],
)
def test_a_cluster_that_does_not_say_who_it_is_counts_as_dead(
    monkeypatch: pytest.MonkeyPatch, namespace: Answer
) -> None:
    _cluster(monkeypatch, namespace, lambda _r: _node("True"))
    assert epoch.wanted_epoch(STACK, "nobody-knows") == 4


def test_a_cluster_with_another_uid_is_another_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(
        monkeypatch, lambda _r: httpx.Response(200, json={"metadata": {"uid": "theirs"}}), lambda _r: _node("True")
    )
    with pytest.raises(epoch.ClusterReplaced):
        epoch.wanted_epoch(STACK, "embedded")


def test_a_stack_of_another_checkout_is_refused_until_that_is_gone(tmp_path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        (folder / "Pulumi.box.yaml").write_text("config: {}\n")
    state.claim("box", other)
    state.check_owner("box", other)
    with pytest.raises(HostError, match=f"stack box of this machine was made from {other}"):
        state.claim("box", mine)
    (other / "Pulumi.box.yaml").unlink()  # moved away: nothing is left there that could be meant
    state.claim("box", mine)
    with pytest.raises(HostError, match=f"was made from {mine}"):
        state.check_owner("box", other)
