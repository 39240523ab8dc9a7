"""NVIDIA's device plugin on a real cluster, owned with the configuration that the plan gives it, and patched where it
is somebody else's. A stand-in for the plugin's program has one card and speaks to the real kubelet, so that no card is
needed.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.deployed import CACHE
from host.artifacts import go_modules, pulumi
from probes.kubernetes_api import KubernetesApi
from probes.waiting import waiting
from stacks.plan import NvidiaPlan, Plan
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.support import static_image
from tests.support.stacks import plan as planned

pytestmark = pytest.mark.e2e

STACK, SLOT = "e2e-gpu", 59
IMAGE = "lab.local/device-plugin:1"
STACK_FILE = "rtx2060-shared"
DAEMON_SETS = ("get", "daemonset", "-n", "kube-system", "nvidia-device-plugin-daemonset", "-o", "json")

_PROGRAM = """
import os, sys
sys.path.insert(0, os.environ["GPU_ROOT"])
import pulumi
import pulumi_kubernetes as k8s
from components.gpu.device_plugin import DevicePlugin, DevicePluginArgs
from components.gpu.device_plugin_patch import DevicePluginPatch, DevicePluginPatchArgs
from stacks.plan import NvidiaPlan

nvidia = NvidiaPlan.model_validate_json(os.environ["GPU_PLAN"])
provider = k8s.Provider("cluster", kubeconfig=os.environ["GPU_KUBECONFIG"], cluster_identifier="e2e-gpu",
                        opts=pulumi.ResourceOptions(version="4.25.0"))
opts = pulumi.ResourceOptions(providers=[provider])
if nvidia.device_plugin.mode == "owned":
    DevicePlugin("device-plugin", DevicePluginArgs(nvidia, nvidia.device_plugin, "v1.36.3"), opts)
else:
    DevicePluginPatch("device-plugin-patch", DevicePluginPatchArgs(nvidia.device_plugin, "local-ai-lab-e2e-gpu"), opts)
"""

_ADD_ON = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: nvidia-device-plugin-daemonset, namespace: kube-system}}
spec:
  selector: {{matchLabels: {{name: nvidia-device-plugin-ds}}}}
  template:
    metadata: {{labels: {{name: nvidia-device-plugin-ds}}}}
    spec:
      containers:
        - name: nvidia-device-plugin-ctr
          image: {IMAGE}
          imagePullPolicy: Never
          env: [{{name: FAIL_ON_INIT_ERROR, value: "false"}}, {{name: CONFIG_FILE, value: /dev/null}}]
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
          volumeMounts: [{{name: device-plugin, mountPath: /var/lib/kubelet/device-plugins}}]
      volumes: [{{name: device-plugin, hostPath: {{path: /var/lib/kubelet/device-plugins}}}}]
"""

_POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {space}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: engine
      image: {image}
      imagePullPolicy: Never
      resources: {{limits: {{nvidia.com/gpu: "1"}}}}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for the plugin, as an archive; its probes run /bin/sh, which is the same program."""
    folder = tmp_path_factory.mktemp("device-plugin")
    module = go_modules.GoModule(ROOT / "tests/e2e/deviceplugin", {"plugin": "."}, "v1")
    program = (go_modules.build(module, folder) / "plugin").read_bytes()
    archive = folder / "image.tar"
    static_image.write(archive, IMAGE, program, ["nvidia-device-plugin", "bin/sh"])
    return archive


@pytest.fixture
def cluster(image: Path) -> Iterator[Cluster]:
    """A cluster that has the stand-in's image."""
    made = Cluster(STACK, SLOT)
    try:
        made.host("ensure")
        made.containerd_import(image)
        yield made
    finally:
        made.host("destroy")
        shutil.rmtree(made.layout.state.parent, ignore_errors=True)


@pytest.fixture
def up(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str, NvidiaPlan], str]]:
    """Pulumi's own engine on a project that has our component alone: (verb, plan) -> what it prints."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    (folder / "__main__.py").write_text(_PROGRAM)
    options = {"toolchain": "pip", "virtualenv": str(ROOT / ".venv")}
    (folder / "Pulumi.yaml").write_text(json.dumps({"name": "gpu", "runtime": {"name": "python", "options": options}}))
    (tmp_path / "backend").mkdir()
    cli = pulumi.get(CACHE.expanduser(), {"command": "1.2.1", "kubernetes": "4.25.0"})
    environment = {
        **os.environ, **cli.environment(), "PULUMI_BACKEND_URL": f"file://{tmp_path}/backend",
        "PULUMI_CONFIG_PASSPHRASE": "gpu", "GPU_ROOT": str(ROOT), "GPU_KUBECONFIG": str(cluster.layout.kubeconfig),
        "TMPDIR": str(tmp_path),
    }  # fmt: skip

    def run(verb: str, nvidia: NvidiaPlan) -> str:
        words = {"init": ["stack", "init", "s"], "preview": ["preview", "-s", "s"]}
        done = subprocess.run(
            [cli.program, *words.get(verb, [verb, "-s", "s", "--yes", "--skip-preview"]), "--non-interactive"],
            cwd=folder,
            env={**environment, "GPU_PLAN": nvidia.model_dump_json(by_alias=True)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run


def with_stand_in(plan: Plan) -> NvidiaPlan:
    """The plan's slice with the stand-in's image."""
    assert plan.nvidia and plan.nvidia.device_plugin
    plugin = plan.nvidia.device_plugin.model_copy(update={"image": IMAGE, "pull_policy": "Never"})
    return plan.nvidia.model_copy(update={"device_plugin": plugin})


def offered(cluster: Cluster, wanted: int) -> None:
    """Waits until the node offers `wanted` GPUs; the kubelet needs some seconds."""
    until, found = time.monotonic() + 90, ""
    while time.monotonic() < until:
        path = r"jsonpath={.items[0].status.allocatable.nvidia\.com/gpu}"
        found = cluster.kubectl("get", "nodes", "-o", path)
        if found == str(wanted):
            return
        time.sleep(1)
    pytest.fail(f"the node offers {found!r} and not {wanted}: {cluster.kubectl('get', 'pods', '-A')}")


def phase(cluster: Cluster, space: str, name: str, condition: str) -> None:
    cluster.kubectl("wait", "-n", space, f"pod/{name}", f"--for={condition}", "--timeout=90s")


def test_the_owned_plugin_offers_a_card_as_often_as_the_plan_shares_it(cluster, up):
    plan = planned(STACK_FILE)
    nvidia, space = with_stand_in(plan), plan.kubernetes.namespace
    up("init", nvidia)
    shown = up("preview", nvidia)
    assert all(word in shown for word in ("lab:gpu:DevicePlugin", "ConfigMap", "DaemonSet")), shown
    up("up", nvidia)
    offered(cluster, 2)
    assert "unchanged" in up("up", nvidia)

    cluster.kubectl("create", "namespace", space)
    for name in ("engine-0", "engine-1"):
        cluster.kubectl("apply", "-f", "-", text=_POD.format(name=name, space=space, image=cluster.pause()))
        phase(cluster, space, name, "condition=Ready")
    cluster.kubectl("apply", "-f", "-", text=_POD.format(name="engine-2", space=space, image=cluster.pause()))
    phase(cluster, space, "engine-2", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable")
    api = KubernetesApi.from_kubeconfig(str(cluster.layout.kubeconfig))
    (found,) = waiting(api, plan)
    assert found.pod == "engine-2"
    assert found.problem.what == (
        "waits for a GPU: the plan counts on 2 nvidia.com/gpu (1 card, each offered 2 times by time-slicing), the "
        "cluster offers 2, and 2 are taken by engine-0, engine-1"
    )
    assert "Insufficient nvidia.com/gpu" in found.problem.evidence

    def three(own):
        own["gpu"]["sharing"]["replicas"] = 3

    up("up", with_stand_in(planned(STACK_FILE, three)))  # another file is another pod of the plugin
    offered(cluster, 3)
    phase(cluster, space, "engine-2", "condition=Ready")
    assert waiting(api, plan) == []

    up("destroy", nvidia)
    assert cluster.kubectl("get", "namespace", "nvidia-device-plugin", "--ignore-not-found") == ""


def test_an_add_on_keeps_its_own_fields_and_gets_ours_back_out(cluster, up):
    def patched(own):
        own["gpu"] = {"devicePlugin": "patched"}
        own["models"][0]["replicas"] = 1

    nvidia = with_stand_in(planned(STACK_FILE, patched))
    cluster.kubectl("apply", "-f", "-", text=_ADD_ON)
    cluster.kubectl("rollout", "status", "-n", "kube-system", "daemonset/nvidia-device-plugin-daemonset")
    offered(cluster, 1)
    before = json.loads(cluster.kubectl(*DAEMON_SETS))["spec"]["template"]

    up("init", nvidia)
    up("up", nvidia)
    ours = json.loads(cluster.kubectl(*DAEMON_SETS))
    (container,) = ours["spec"]["template"]["spec"]["containers"]
    (old,) = before["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "200m", "memory": "256Mi"}
    assert container["securityContext"] == {
        **old["securityContext"], "readOnlyRootFilesystem": True, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert (container["image"], container["env"]) == (old["image"], old["env"])
    assert "local-ai-lab-e2e-gpu" in {entry["manager"] for entry in json.loads(
        cluster.kubectl(*DAEMON_SETS, "--show-managed-fields"))["metadata"]["managedFields"]}  # fmt: skip
    assert "unchanged" in up("up", nvidia)
    cluster.kubectl("apply", "-f", "-", text=_ADD_ON)  # as `minikube start` does
    again = json.loads(cluster.kubectl(*DAEMON_SETS))["spec"]["template"]
    assert again == ours["spec"]["template"]

    up("destroy", nvidia)
    assert json.loads(cluster.kubectl(*DAEMON_SETS))["spec"]["template"] == before
    offered(cluster, 1)
