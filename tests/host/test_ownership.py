"""Whose a cluster is, on the machine and inside it; and the stack's own kubeconfig."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import pytest
import yaml

from host.drivers import kubeconfig, ownership
from host.drivers.ownership import Mark, Owner
from probes.kubernetes_api import KubernetesApi
from stacks.errors import HostError

OURS = Owner("rtx2060", "/srv/lab", "minikube", "local-ai-lab")


class Cluster:
    """An API server that holds ConfigMaps: 404, 201, 409 and 200 as apiserver answers them."""

    def __init__(self, **config_map: str) -> None:
        self.data: dict[str, str] | None = config_map or None
        self.methods: list[str] = []
        self.status = 0

    def api(self) -> KubernetesApi:
        return KubernetesApi(httpx.Client(transport=httpx.MockTransport(self._answer), base_url="https://cluster"))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        if self.status:
            return httpx.Response(self.status, json={"kind": "Status", "reason": "Forbidden"})
        assert request.url.path.startswith("/api/v1/namespaces/kube-system/configmaps")
        if request.method == "GET":
            return httpx.Response(200, json={"data": self.data}) if self.data else httpx.Response(404, json={})
        if request.method == "POST" and self.data is not None:
            return httpx.Response(409, json={"reason": "AlreadyExists"})
        body = json.loads(request.content)
        assert body["metadata"]["name"] == "local-ai-lab-owner"
        self.data = body["data"]
        return httpx.Response(201 if request.method == "POST" else 200, json=body)


def test_a_mark_is_read_as_it_was_written_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = ownership.mark_file("minikube", "local-ai-lab")
    assert ownership.read(path) is None
    ownership.write(path, Mark(OURS))
    ownership.write(path, Mark(OURS, complete=True, identity="4f2a"))
    assert ownership.read(path) == Mark(OURS, complete=True, identity="4f2a")
    assert path.stat().st_mode & 0o777 == 0o600
    ownership.remove(path)
    ownership.remove(path)
    assert ownership.read(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"owner": {"stack": "a"}, "complete": true, "identity": ""}'])
def test_a_damaged_mark_is_an_error_that_says_what_to_type(tmp_path: Path, text: str) -> None:
    (tmp_path / "mark.json").write_text(text)
    with pytest.raises(HostError, match="cannot be read") as raised:
        ownership.read(tmp_path / "mark.json")
    assert raised.value.remedy == f"if the cluster is yours: rm {tmp_path / 'mark.json'}"


def test_a_checkout_owns_what_it_made_and_a_moved_one_keeps_it(tmp_path: Path) -> None:
    elsewhere = Owner("rtx2060", str(tmp_path), "minikube", "local-ai-lab")
    assert elsewhere.is_ours(OURS)  # nothing is left there
    (tmp_path / "Pulumi.rtx2060.yaml").write_text("")
    assert not elsewhere.is_ours(OURS)
    assert OURS.is_ours(OURS)
    assert not Owner("other", "/srv/lab", "minikube", "local-ai-lab").is_ours(OURS)
    assert not Owner("rtx2060", "/srv/lab", "minikube", "other").is_ours(OURS)


def test_a_cluster_is_marked_once() -> None:
    cluster = Cluster()
    assert ownership.read_inside(cluster.api()) is None
    assert ownership.mark_inside(cluster.api(), OURS) is True
    assert ownership.read_inside(cluster.api()) == OURS
    assert ownership.mark_inside(cluster.api(), OURS) is False
    assert cluster.methods == ["GET", "GET", "POST", "GET", "GET"]


def test_a_cluster_of_another_stack_is_not_marked(tmp_path: Path) -> None:
    cluster = Cluster(stack="other", project=str(tmp_path), driver="minikube", cluster="local-ai-lab")
    with pytest.raises(HostError, match=f"belongs to stack other of {tmp_path}") as raised:
        ownership.mark_inside(cluster.api(), OURS)
    assert "./lab down other" in raised.value.remedy
    assert cluster.methods == ["GET"]


def test_the_mark_of_a_moved_checkout_is_written_anew() -> None:
    cluster = Cluster(stack="rtx2060", project="/gone", driver="minikube", cluster="local-ai-lab")
    assert ownership.mark_inside(cluster.api(), OURS) is True
    assert ownership.read_inside(cluster.api()) == OURS


def test_a_cluster_that_does_not_say_whose_it_is_is_an_error() -> None:
    cluster = Cluster()
    cluster.status = 403
    with pytest.raises(HostError, match="403"):
        ownership.read_inside(cluster.api())


# As minikube 1.37.0 writes it (pkg/minikube/kubeconfig/settings.go): files, extensions, and the user's other clusters.
THEIRS = """
apiVersion: v1
kind: Config
preferences: {}
current-context: other
clusters:
- name: other
  cluster: {server: https://192.0.2.1:6443}
- name: local-ai-lab
  cluster:
    certificate-authority: /home/me/.minikube/ca.crt
    extensions: [{name: cluster_info, extension: {provider: minikube.sigs.k8s.io, version: v1.37.0}}]
    server: https://127.0.0.1:32771
contexts:
- name: other
  context: {cluster: other, user: other}
- name: local-ai-lab
  context: {cluster: local-ai-lab, user: local-ai-lab, namespace: default}
users:
- name: other
  user: {token: secret}
- name: local-ai-lab
  user: {client-certificate: client.crt, client-key: client.key}
"""


def _source(folder: Path, text: str = THEIRS) -> Path:
    for name in ("ca.crt", "client.crt", "client.key"):
        (folder / name).write_text(f"the {name}\n")
    path = folder / "config"
    path.write_text(text.replace("/home/me/.minikube", str(folder)))
    return path


def test_one_context_remains_and_no_other_file_is_needed(tmp_path: Path) -> None:
    text = kubeconfig.single(_source(tmp_path), name="lab", context="local-ai-lab")
    document = yaml.safe_load(text)
    (cluster,), (user,) = document["clusters"], document["users"]
    assert document["current-context"] == "lab"
    assert document["contexts"] == [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}]
    assert cluster["cluster"] == {
        "server": "https://127.0.0.1:32771",
        "certificate-authority-data": base64.b64encode(b"the ca.crt\n").decode(),
    }
    assert sorted(user["user"]) == ["client-certificate-data", "client-key-data"]
    assert "secret" not in text


def test_the_current_context_is_taken_where_none_is_named_and_the_address_may_be_another(tmp_path: Path) -> None:
    text = kubeconfig.single(_source(tmp_path), name="lab", server="https://127.0.0.1:6443")
    document = yaml.safe_load(text)
    assert document["clusters"][0]["cluster"] == {"server": "https://127.0.0.1:6443"}
    assert document["users"][0]["user"] == {"token": "secret"}


@pytest.mark.parametrize(
    ("source", "context"),
    [("", "local-ai-lab"), ("{", "local-ai-lab"), ("[]", "local-ai-lab"), (THEIRS, "absent")],
)
def test_a_source_that_cannot_be_used_is_an_error(tmp_path: Path, source: str, context: str) -> None:
    with pytest.raises(HostError, match="cannot be used"):
        kubeconfig.single(_source(tmp_path, source), name="lab", context=context)


def test_a_certificate_that_is_gone_is_an_error(tmp_path: Path) -> None:
    source = _source(tmp_path)
    (tmp_path / "client.key").unlink()
    with pytest.raises(HostError, match=r"client\.key"):
        kubeconfig.single(source, name="lab", context="local-ai-lab")


def test_it_is_written_for_its_owner_only_and_once(tmp_path: Path) -> None:
    path = tmp_path / "stacks" / "lab" / "kubeconfig"
    assert kubeconfig.write(path, "text") is True
    assert path.stat().st_mode & 0o777 == 0o600
    assert kubeconfig.write(path, "text") is False
    path.chmod(0o644)
    assert kubeconfig.write(path, "text") is True
    assert path.stat().st_mode & 0o777 == 0o600
