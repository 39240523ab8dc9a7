"""What comes next needs of Pulumi's engine: a Helm release, a patch of an object of others, and resources of kinds that
nobody knows.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from cli.deployed import CACHE
from host.artifacts import pulumi
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster

pytestmark = pytest.mark.e2e

_PROGRAM = """
import os
import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apiextensions import CustomResource

provider = k8s.Provider("cluster", kubeconfig=os.environ["SAMPLE_KUBECONFIG"], cluster_identifier="sample",
                        opts=pulumi.ResourceOptions(version="4.25.0"))
opts = pulumi.ResourceOptions(provider=provider)
space = k8s.core.v1.Namespace("sample", metadata={"name": "sample"}, opts=opts)
kind = k8s.apiextensions.v1.CustomResourceDefinition(
    "widgets", metadata={"name": "widgets.example.test"},
    spec={"group": "example.test", "scope": "Namespaced",
          "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
          "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
              "type": "object", "properties": {
                  "spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]},
    opts=opts)
CustomResource("widget", api_version="example.test/v1", kind="Widget",
               metadata={"name": "widget", "namespace": "sample"},
               spec={"size": 3}, opts=pulumi.ResourceOptions(provider=provider, depends_on=[kind, space]))
theirs = k8s.core.v1.ConfigMap("theirs", metadata={"name": "theirs", "namespace": "sample"}, data={"a": "theirs"},
                               opts=pulumi.ResourceOptions(provider=provider, depends_on=[space],
                                                          ignore_changes=["data"]))
k8s.core.v1.ConfigMapPatch("patch", metadata={"name": "theirs", "namespace": "sample"}, data={"b": "ours"},
                           opts=pulumi.ResourceOptions(provider=provider, depends_on=[theirs]))
k8s.helm.v3.Release("release", chart="./chart", namespace="sample", values={"text": "from values"},
                    opts=pulumi.ResourceOptions(provider=provider, depends_on=[space]))
"""
_CHART = """apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-map"}
data: {text: "{{ .Values.text }}"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Pulumi project with a local chart."""
    folder = tmp_path / "sample"
    (folder / "chart/templates").mkdir(parents=True)
    (folder / "chart/Chart.yaml").write_text("apiVersion: v2\nname: sample\nversion: 0.1.0\n")
    (folder / "chart/values.yaml").write_text("text: default\n")
    (folder / "chart/templates/map.yaml").write_text(_CHART)
    (folder / "__main__.py").write_text(_PROGRAM)
    python = ROOT / ".venv"
    (folder / "Pulumi.yaml").write_text(json.dumps({
        "name": "sample", "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(python)}},
    }))  # fmt: skip
    return folder


def test_a_release_a_patch_and_a_custom_resource_preview_and_apply(clusters, project, tmp_path):
    cluster: Cluster = clusters[0]
    cluster.host("ensure")
    cli = pulumi.get(CACHE.expanduser(), {"command": "1.2.1", "kubernetes": "4.25.0"})
    (tmp_path / "backend").mkdir()
    environment = {
        **os.environ, **cli.environment(), "PULUMI_BACKEND_URL": f"file://{tmp_path}/backend",
        "PULUMI_CONFIG_PASSPHRASE": "sample",
        "SAMPLE_KUBECONFIG": str(cluster.layout.kubeconfig), "TMPDIR": str(tmp_path),
    }  # fmt: skip

    def run(*words: str) -> str:
        done = subprocess.run(
            [cli.program, *words, "--non-interactive"],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("stack", "init", "s")
    shown = run("preview", "-s", "s")
    assert all(word in shown for word in ("example.test/v1:Widget", "ConfigMapPatch", "helm.sh/v3:Release")), shown
    run("up", "-s", "s", "--yes", "--skip-preview")
    assert cluster.kubectl("get", "widget", "-n", "sample", "widget", "-o", "jsonpath={.spec.size}") == "3"
    assert json.loads(cluster.kubectl("get", "configmap", "-n", "sample", "theirs", "-o", "jsonpath={.data}")) == {
        "a": "theirs",
        "b": "ours",
    }
    maps = cluster.kubectl(
        "get",
        "configmap",
        "-n",
        "sample",
        "-l",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "jsonpath={.items[*].data.text}",
    )
    assert maps == "from values"
    assert "unchanged" in run("up", "-s", "s", "--yes", "--skip-preview")
    run("destroy", "-s", "s", "--yes", "--skip-preview")
    assert cluster.kubectl("get", "namespace", "sample", "--ignore-not-found") == ""
