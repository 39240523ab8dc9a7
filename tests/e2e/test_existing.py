"""Stacks in a cluster that is somebody else's, for real: an embedded cluster with a node that is made to advertise
GPUs, Pulumi's engine, and a stand-in for the model server.
"""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks import names
from tests.e2e.conftest import Cluster
from tests.support import stand_in_image
from tests.support.project_copy import ProjectCopy

pytestmark = pytest.mark.e2e

THEIRS = ("e2e-theirs", 47)
FIRST, SECOND, THIRD = "e2e-guest-a", "e2e-guest-b", "e2e-guest-c"
MODEL = "qwen2.5-0.5b-instruct"
_VOLUMES = 4  # a volume that was released once is not bound again
_GPU = "nvidia.com/gpu"


class Project(ProjectCopy):
    """A copy of the project with stacks that go into somebody else's cluster."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        super().__init__(folder)
        self.kubeconfig = kubeconfig

    def write(self, stack: str, context: str) -> None:
        own: dict[str, Any] = {
            "machine": {"kind": "nvidia", "gpu": "l4", "memoryGiB": 20, "cpus": 2},
            "cluster": {
                "driver": "existing", "context": context, "kubeconfig": str(self.kubeconfig),
                "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}, "storage": {"sizeGiB": 5},
            },
            "models": [{"name": "qwen", "model": MODEL, "contextTokens": 2048, "concurrentRequests": 4}],
        }  # fmt: skip
        self.write_stack(stack, own)

    def killed(self, stack: str, point: int) -> None:
        """An `up` that is ended with SIGKILL at that event of Pulumi's stream."""
        self("lab", str(point), "up", stack, module="tests.support.killed_run", codes=(-signal.SIGKILL,))


@pytest.fixture
def theirs(tmp_path: Path, stand_in: Path) -> Iterator[tuple[Cluster, Project]]:
    """Their cluster, which has no GPU yet, and a project whose engine's image their node has."""
    project = Project(tmp_path / "lab", tmp_path / "kubeconfig")
    with stand_in_image.offered(project.folder, stand_in) as (reference, _image):
        repository, _, tag = reference.rpartition(":")

        def image(document: dict[str, Any]) -> None:
            document["images"]["vllm-cuda"] |= {
                "repository": repository, "tag": tag, "digest": None, "digestNote": "a stand-in", "pullPolicy": "Never",
            }  # fmt: skip
            document["images"]["vllm-cuda"].pop("digestSource")

        project.edit("images.yaml", image)
        project.edit("compatibility.yaml", lambda d: d["existing"]["kubernetesProvider"].update(value="4.25.0"))
        cluster = Cluster(*THEIRS, images=(reference,))
        cluster.root = project.folder  # whose recipe names that image
        for stack in (FIRST, SECOND, THIRD):
            shutil.rmtree(Path(names.state_folder(stack)).expanduser(), ignore_errors=True)
        try:
            cluster.host("ensure")
            _furnish(cluster, tmp_path)
            project.kubeconfig.write_text(cluster.layout.kubeconfig.read_text())
            for stack in (FIRST, SECOND, THIRD):
                project.write(stack, cluster.plan.name)
            yield cluster, project
        finally:
            cluster.host("destroy")
            shutil.rmtree(cluster.layout.state.parent, ignore_errors=True)
            for stack in (FIRST, SECOND, THIRD):
                shutil.rmtree(Path(names.state_folder(stack)).expanduser(), ignore_errors=True)


def _furnish(cluster: Cluster, folder: Path) -> None:
    """What an owner has in a cluster: storage with a default class, and a team at work."""
    documents: list[dict[str, Any]] = [
        {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/no-provisioner",
         "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
         "volumeBindingMode": "WaitForFirstConsumer"},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "work", "namespace": "team"},
         "data": {"a": "b"}},
    ]  # fmt: skip
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
    for number in range(_VOLUMES):
        path = folder / f"volume-{number}"
        path.mkdir()
        documents.append({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{number}"},
            "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                     "persistentVolumeReclaimPolicy": "Retain", "local": {"path": str(path)},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}}},
        })  # fmt: skip
    cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(documents))


def _advertise(cluster: Cluster, gpus: int) -> None:
    """The node offers GPUs, as kubernetes.io, Advertise Extended Resources for a Node, says it."""
    patch = {"status": {"capacity": {_GPU: str(gpus)}, "allocatable": {_GPU: str(gpus)}}}
    node = cluster.plan.node
    cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    labels = ("nvidia.com/gpu.product=NVIDIA-L4", "nvidia.com/gpu.memory=23034")
    cluster.kubectl("label", "node", node, "--overwrite", *labels)


def _foreign(cluster: Cluster) -> dict[str, Any]:
    """Everything that is not the stacks': by its version, which any write would change. What the cluster's own
    controllers keep writing is left out.
    """
    found = json.loads(
        cluster.kubectl("get", "namespaces,configmaps,secrets,storageclasses,services", "-A", "-o", "json")
    )
    ours = {names.namespace(stack) for stack in (FIRST, SECOND, THIRD)}
    return {
        f"{o['kind']} {o['metadata'].get('namespace', '')}/{o['metadata']['name']}": o["metadata"]["resourceVersion"]
        for o in found["items"]
        if not {o["metadata"].get("namespace"), o["metadata"]["name"]} & ours
    }


def test_two_stacks_live_in_somebody_elses_cluster_and_leave_it_as_it_was(theirs: tuple[Cluster, Project]) -> None:
    cluster, lab = theirs
    before = _foreign(cluster)
    lab("up", FIRST, "--yes", "--json", codes=(1, 2))
    assert f"no {_GPU} is offered ({cluster.plan.node})" in lab.said
    assert _foreign(cluster) == before and cluster.kubectl("get", "namespace", "-o", "name").count(FIRST) == 0
    _advertise(cluster, 2)

    first = lab("up", FIRST, "--yes", "--json")
    assert first["ok"] and set(first["summary"]) == {"create"}
    print("\nfirst up", first["seconds"], "s")
    again = lab("up", FIRST, "--yes", "--json")
    assert set(again["summary"]) == {"same"}
    (walk,) = again["check"]
    assert [hop["name"] for hop in walk["hops"]] == [
        "cluster", "rollout", "pod", "service", "/v1/models", "chat", "streaming",
    ]  # fmt: skip
    assert walk["ok"] and walk["text"] == "stand-in"
    print("again", again["seconds"], "s")

    lab("pulumi", "stack", "init", SECOND)
    lab("pulumi", "config", "set", "--secret", "local-ai-lab:apiKey", "sk-of-the-engine", "--stack", SECOND)
    lab.killed(SECOND, 30)  # as its objects are made
    second = lab("up", SECOND, "--yes", "--json")
    assert second["ok"]
    lab("check", SECOND, "--json")  # the API server's own proxy would keep the engine's key for itself
    assert '"ok": true' in lab.said and "sk-of" not in lab.said
    cluster.kubectl("create", "namespace", names.namespace(THIRD))
    lab("up", THIRD, "--yes", "--json", codes=(1, 2))
    assert "which the lab did not make" in lab.said
    assert _foreign(cluster) == before

    lab("down", FIRST, "--yes")
    assert names.namespace(FIRST) not in cluster.kubectl("get", "namespace", "-o", "name")
    assert lab("status", SECOND, "--json")["cluster"]["state"] == "running"
    cluster.kubectl("delete", "namespace", names.namespace(SECOND))  # somebody else may do that
    assert lab("status", SECOND, "--json")["cluster"]["state"] == "lost"
    mended = lab("up", SECOND, "--yes", "--json")
    assert mended["ok"] and mended["check"][0]["ok"]
    lab("down", SECOND, "--yes")

    assert names.namespace(THIRD) in cluster.kubectl("get", "namespace", "-o", "name")
    assert _foreign(cluster) == before
    assert cluster.host("status")["state"] == "running"
    node = json.loads(cluster.kubectl("get", "node", cluster.plan.node, "-o", "json"))
    assert node["status"]["capacity"][_GPU] == "2"
