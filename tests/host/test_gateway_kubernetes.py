"""The gateway's files as Secrets of a namespace: a strict stand-in for the few calls of the API server."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import httpx
import pytest

from host.gateway import gateway_files, kubernetes
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed, HostError

STACK, SPACE = "a-stack", "local-ai-lab-a-stack"
SPEC = json.dumps({"kubeconfig": "/nowhere", "namespace": SPACE, "hosts": ["10.231.0.2", "localhost"]})
TOLD = {"LAB_STACK": STACK, "LAB_SPEC": SPEC, "LAB_EPOCH": "0"}
FILES = {"keys.json", "models.json", "engine-key.json", "certificate.json"}


class Server:
    """Secrets by name, and what was told to pods."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        self.kinds: dict[str, str] = {}
        self.pods: dict[str, dict[str, str]] = {"gateway-1": {}}
        self.gone: set[str] = set()
        self.status = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.status:
            return httpx.Response(self.status, json={"message": "no"})
        path = request.url.path
        if found := re.fullmatch(f"/api/v1/namespaces/{SPACE}/secrets/([a-z-]+)", path):
            return self._secret(request, found[1])
        if path == f"/api/v1/namespaces/{SPACE}/pods":
            assert request.url.params["labelSelector"] == (
                "app.kubernetes.io/name=gateway,app.kubernetes.io/part-of=local-ai-lab"
            )
            return httpx.Response(200, json={"items": [{"metadata": {"name": name}} for name in self.pods]})
        found = re.fullmatch(f"/api/v1/namespaces/{SPACE}/pods/([a-z0-9-]+)", path)
        assert found and request.method == "PATCH", path
        assert request.headers["content-type"] == "application/merge-patch+json"
        if found[1] in self.gone:
            return httpx.Response(404, json={"message": "not found"})
        self.pods[found[1]] |= json.loads(request.content)["metadata"]["annotations"]
        return httpx.Response(200, json={})

    def _secret(self, request: httpx.Request, name: str) -> httpx.Response:
        if request.method == "GET":
            if name not in self.secrets:
                return httpx.Response(404, json={"message": "not found"})
            return httpx.Response(200, json={"data": self.secrets[name]})
        if request.method == "DELETE":
            return httpx.Response(200 if self.secrets.pop(name, None) else 404, json={})
        assert request.method == "PATCH"
        assert request.headers["content-type"] == "application/apply-patch+yaml"
        assert dict(request.url.params) == {"fieldManager": "local-ai-lab", "force": "true"}
        document = json.loads(request.content)
        assert (document["kind"], document["metadata"]["name"]) == ("Secret", name)
        assert document["metadata"]["namespace"] == SPACE
        self.secrets[name], self.kinds[name] = document["data"], document["type"]
        return httpx.Response(200, json={})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    def connect(path: str, **_: Any) -> KubernetesApi:
        return KubernetesApi(httpx.Client(base_url="http://api", transport=httpx.MockTransport(made)))

    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", connect)
    return made


def text(server: Server, name: str, key: str) -> str:
    return base64.b64decode(server.secrets[name][key]).decode()


def test_the_cluster_has_what_the_machine_has_and_a_second_run_changes_nothing(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    kubernetes.ensure(TOLD)
    folder = gateway_files.mounted(STACK)
    assert set(server.secrets[names.GATEWAY_SECRET]) == FILES == {path.name for path in folder.iterdir()}
    for name in FILES:
        assert text(server, names.GATEWAY_SECRET, name) == (folder / name).read_text()
    key = gateway_files.engine_key(STACK)
    assert text(server, names.API_KEY_SECRET, "apiKey") == key
    assert f"Bearer {key}" in text(server, names.GATEWAY_SECRET, "engine-key.json")
    before = json.dumps(server.secrets)
    kubernetes.ensure(TOLD)
    assert json.dumps(server.secrets) == before
    said = capfd.readouterr()
    assert key not in said.out + said.err
    assert gateway_files.keys(STACK).of("lab") not in said.out + said.err


def test_a_machine_that_lost_its_files_takes_the_engines_key_from_the_cluster(server: Server) -> None:
    server.secrets[names.API_KEY_SECRET] = {"apiKey": base64.b64encode(b"of-the-cluster").decode()}
    kubernetes.ensure(TOLD)
    assert gateway_files.engine_key(STACK) == "of-the-cluster"
    server.secrets[names.API_KEY_SECRET] = {"apiKey": base64.b64encode(b"of-somebody").decode()}
    kubernetes.ensure(TOLD)  # what the machine knows stays
    assert text(server, names.API_KEY_SECRET, "apiKey") == "of-the-cluster"


def test_a_changed_key_is_told_to_every_pod_of_the_gateway(server: Server) -> None:
    kubernetes.ensure(TOLD)
    first = dict(server.pods["gateway-1"])
    server.pods["gateway-2"], server.gone = {}, {"gateway-2"}  # listed, and gone when it is told
    key = gateway_files.keys(STACK).add("laptop")
    kubernetes.publish(kubernetes.Place.told(TOLD))
    assert key in text(server, names.GATEWAY_SECRET, "keys.json")
    assert set(first) == {names.GATEWAY_KEYS_ANNOTATION}
    assert server.pods["gateway-1"] != first
    assert key not in json.dumps(server.pods)


def test_status_says_whether_somebody_changed_the_secret(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    kubernetes.ensure(TOLD)
    kubernetes.status(TOLD)
    server.secrets[names.GATEWAY_SECRET]["keys.json"] = base64.b64encode(b"{}").decode()
    kubernetes.status(TOLD)
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == ["running", "drifted"]


def test_destroy_leaves_no_secret_and_keeps_the_machine_s_keys(server: Server) -> None:
    kubernetes.ensure(TOLD)
    key = gateway_files.keys(STACK).of("lab")
    kubernetes.destroy(TOLD)
    assert server.secrets == {}
    kubernetes.destroy(TOLD)
    assert gateway_files.keys(STACK).of("lab") == key


AIBRIX = {**TOLD, "LAB_SPEC": json.dumps({**json.loads(SPEC), "kind": "aibrix"})}


def test_envoy_gateway_gets_a_key_for_each_client_the_certificate_and_what_engines_are_sent(server: Server) -> None:
    kubernetes.ensure(AIBRIX)
    keys = gateway_files.keys(STACK)
    laptop = keys.add("laptop")
    kubernetes.publish(kubernetes.Place.told(AIBRIX))
    assert set(server.secrets) == {
        names.GATEWAY_CLIENTS_SECRET, names.GATEWAY_TLS_SECRET, names.GATEWAY_ENGINE_SECRET, names.API_KEY_SECRET,
    }  # fmt: skip
    assert set(server.secrets[names.GATEWAY_CLIENTS_SECRET]) == {"lab", "laptop"}
    assert text(server, names.GATEWAY_CLIENTS_SECRET, "laptop") == laptop  # the key alone, without Bearer
    assert server.kinds[names.GATEWAY_TLS_SECRET] == "kubernetes.io/tls"
    assert text(server, names.GATEWAY_TLS_SECRET, "tls.crt").startswith("-----BEGIN CERTIFICATE-----")
    sent = text(server, names.GATEWAY_ENGINE_SECRET, "credential")
    assert sent == f"Bearer {text(server, names.API_KEY_SECRET, 'apiKey')}"
    assert server.pods["gateway-1"] == {}
    keys.revoke("laptop")
    kubernetes.publish(kubernetes.Place.told(AIBRIX))
    assert set(server.secrets[names.GATEWAY_CLIENTS_SECRET]) == {"lab"}


def test_status_of_envoy_gateways_secrets_says_whether_somebody_changed_one(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.ensure(AIBRIX)
    kubernetes.status(AIBRIX)
    server.secrets[names.GATEWAY_CLIENTS_SECRET]["lab"] = base64.b64encode(b"another").decode()
    kubernetes.status(AIBRIX)
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == ["running", "drifted"]


@pytest.mark.parametrize(("old", "new"), [(TOLD, AIBRIX), (AIBRIX, TOLD)])
def test_another_kind_keeps_its_secrets_and_the_engines_key_when_the_old_one_goes(
    server: Server, old: dict[str, str], new: dict[str, str]
) -> None:
    kubernetes.ensure(new)
    wanted = dict(server.secrets)
    kubernetes.ensure(old)
    kubernetes.destroy(old)
    assert server.secrets == wanted
    kubernetes.destroy(new)
    assert server.secrets == {}


def test_what_the_api_server_refuses_is_said_without_what_was_sent(server: Server) -> None:
    server.status = 403
    with pytest.raises(HostError, match="403") as refused:
        kubernetes.ensure(TOLD)
    assert "Bearer" not in str(refused.value)
    with pytest.raises(HostError, match="403"):
        kubernetes.destroy(TOLD)


def test_a_cluster_that_is_gone_has_nothing_to_destroy_and_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(path: str, **_: Any) -> KubernetesApi:
        raise CheckFailed("there is no kubeconfig at /nowhere", remedy="./lab up a-stack")

    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", connect)
    kubernetes.destroy(TOLD)
    with pytest.raises(HostError, match="no kubeconfig"):
        kubernetes.ensure(TOLD)


@pytest.mark.parametrize("told", [{}, {"LAB_STACK": STACK}, {"LAB_STACK": STACK, "LAB_SPEC": "[]"}, {"LAB_SPEC": SPEC}])
def test_what_is_not_told_is_said(told: dict[str, str]) -> None:
    with pytest.raises(HostError, match="LAB_STACK and LAB_SPEC"):
        kubernetes.ensure(told)
