"""Plain Docker and Kubernetes are told the same of an engine: for every model of the catalogue."""

from __future__ import annotations

import re
from typing import Any

import pytest

from components.docker.compose_manifests import compose_file
from components.serving import model_manifests
from stacks import names
from stacks.catalog import load
from stacks.errors import PlanError
from stacks.plan import DockerPlan, Plan
from stacks.planning.build import build_plan
from stacks.settings import Settings

CATALOG = load()
MIB = 2**20


def _on_cards(model: str, **changes: Any) -> Plan:
    """The model on as few of eight H200 as hold it."""
    for cards in (1, 2, 4):
        try:
            return _plan(model, **changes, **({"tensorParallel": cards} if cards > 1 else {}))
        except PlanError:
            continue
    return _plan(model, **changes, tensorParallel=8)


def _plan(model: str, *, key: bool = False, **changes: Any) -> Plan:
    cards = "cuda" in CATALOG.model(model).devices
    machine = {"kind": "nvidia", "gpu": "h200", "gpus": 8} if cards else {"kind": "cpu"}
    if CATALOG.model(model).task == "transcription":
        changes |= {"contextTokens": 448, "image": "registry.local/vllm-audio:v0.31.0"}
    if "auto_map" in CATALOG.model(model).config:
        changes |= {"trustRemoteCode": True, "revision": "a" * 40}
    own = {
        "machine": {**machine, "memoryGiB": 512, "cpus": 64},
        "cluster": {"driver": "docker"},
        "models": [{"name": "m", "model": model, "contextTokens": 512, **changes}],
    }
    secrets = frozenset({"apiKey"} if key else ())
    return build_plan(Settings.from_config(own), stack="box", catalog=CATALOG, secrets=secrets)


def _both(plan: Plan) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The service, the pod and its container."""
    assert isinstance(plan.cluster, DockerPlan)
    service = compose_file(plan, plan.cluster)["services"]["m"]
    mark = "00000000" if plan.auth == "apiKey" else None
    pod = model_manifests.deployments(plan.models[0], "box", model_manifests.Pod("cache"), api_key_mark=mark)[0][
        "spec"
    ]["template"]["spec"]
    (container,) = pod["containers"]
    return service, pod, container


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"([0-9]+)(Mi|m)", quantity).groups()
    return int(number) * {"Mi": MIB, "m": MIB}[unit]


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


@pytest.mark.parametrize("model", sorted(CATALOG.models))
def test_a_container_and_a_pod_get_the_same(model: str) -> None:
    service, pod, container = _both(_on_cards(model, environment={"VLLM_LOGGING_LEVEL": "DEBUG"}))
    assert service["command"] == container["args"]
    assert service["image"] == container["image"]
    assert service["environment"] == {e["name"]: e["value"] for e in container["env"]}
    assert service["environment"]["VLLM_LOGGING_LEVEL"] == "DEBUG"

    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert _bytes(service["mem_limit"]) == _bytes(service["memswap_limit"]) == _bytes(limits["memory"])
    assert _bytes(service["mem_reservation"]) == _bytes(requests["memory"])
    assert service["cpus"] == float(limits["cpu"])
    assert service["cpu_shares"] == int(requests["cpu"]) * 1024
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert _bytes(service["shm_size"]) == _bytes(volumes["shm"]["emptyDir"]["sizeLimit"])

    mounts = {m["mountPath"]: m.get("readOnly", False) for m in container["volumeMounts"] if m["name"] != "shm"}
    assert {v["target"]: v.get("read_only", False) for v in service["volumes"]} == mounts
    assert mounts == {names.MODELS_MOUNT: True, "/tmp": False}  # noqa: S108

    context, own = pod["securityContext"], container["securityContext"]
    assert service["user"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert service["read_only"] == own["readOnlyRootFilesystem"]
    assert service["cap_drop"] == own["capabilities"]["drop"]
    assert (service["privileged"], "no-new-privileges:true" in service["security_opt"]) == (False, True)
    assert own["allowPrivilegeEscalation"] is False

    health, startup, liveness = service["healthcheck"], container["startupProbe"], container["livenessProbe"]
    assert f"'{startup['httpGet']['path']}'" in health["test"][-1]
    assert f"{container['ports'][0]['containerPort']}, timeout={startup['timeoutSeconds']}" in health["test"][-1]
    assert _seconds(health["start_period"]) == startup["periodSeconds"] * startup["failureThreshold"]
    assert _seconds(health["interval"]) * health["retries"] == liveness["periodSeconds"] * liveness["failureThreshold"]
    stop = pod["terminationGracePeriodSeconds"] - int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert _seconds(service["stop_grace_period"]) == stop  # a pod sleeps first, until Services have forgotten it

    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert sum(len(d["device_ids"]) for d in devices) == int(limits.get("nvidia.com/gpu", 0))
    assert service["ports"] == [{"target": 8000, "published": "30080", "host_ip": "127.0.0.1", "protocol": "tcp"}]


def test_the_health_check_is_a_program_that_python_takes() -> None:
    service, *_ = _both(_plan("gemma-3-270m"))
    assert service["healthcheck"]["test"][:5] == ["CMD", "python3", "-I", "-S", "-c"]
    compile(service["healthcheck"]["test"][5], "health", "exec")


def test_a_key_is_in_a_file_of_its_own_and_the_pod_has_the_same_variable() -> None:
    plan = _plan("gemma-3-270m", key=True)
    service, _, container = _both(plan)
    assert isinstance(plan.cluster, DockerPlan)
    document = compose_file(plan, plan.cluster)
    (variable,) = [e["name"] for e in container["env"] if "valueFrom" in e]
    assert document["x-api-key"] == {"vllm.env": variable}
    assert service["env_file"] == ["vllm.env"]
    assert variable not in service["environment"]


def test_each_model_gets_its_own_cards_and_under_wsl2_the_one_device() -> None:
    own = {
        "machine": {"kind": "nvidia", "gpu": "rtx-3090", "gpus": 2, "memoryGiB": 64, "cpus": 16},
        "cluster": {"driver": "docker"},
        "models": [
            {"name": name, "model": "qwen3-0.6b", "contextTokens": 2048, "port": port}
            for name, port in (("one", 30080), ("two", 30081))
        ],
    }

    def devices(**machine: Any) -> list[dict[str, Any]]:
        models = own["models"][: 1 if machine else 2]
        changed = {**own, "machine": {**own["machine"], **machine}, "models": models}
        plan = build_plan(Settings.from_config(changed), stack="box", catalog=CATALOG)
        assert isinstance(plan.cluster, DockerPlan)
        services = compose_file(plan, plan.cluster)["services"].values()
        return [s["deploy"]["resources"]["reservations"]["devices"][0] for s in services]

    assert [d["device_ids"] for d in devices()] == [["0"], ["1"]]
    (all_of_them,) = devices(platform="wsl2", gpus=1)
    assert all_of_them == {"driver": "nvidia", "capabilities": ["gpu"], "count": "all"}


def test_several_replicas_are_refused_with_what_works() -> None:
    with pytest.raises(PlanError) as caught:
        _plan("gemma-3-270m", replicas=2)
    assert "plain Docker publishes a port for one container" in str(caught.value)
    assert any("replicas: 1" in text for text in caught.value.alternatives)


def test_a_services_digest_follows_what_it_says_and_nothing_else() -> None:
    def digest(plan: Plan) -> str:
        assert isinstance(plan.cluster, DockerPlan)
        return str(compose_file(plan, plan.cluster)["services"]["m"]["labels"][names.DIGEST_LABEL])

    one = _plan("gemma-3-270m")
    assert digest(one) == digest(_plan("gemma-3-270m"))
    assert digest(one) != digest(_plan("gemma-3-270m", environment={"A": "1"}))
    assert digest(one) != digest(_plan("gemma-3-270m", contextTokens=256))
