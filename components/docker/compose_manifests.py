"""A stack in the format of docker compose, https://docs.docker.com/reference/compose-file/: what pods say, as services.

The document is what `python -m host docker` takes, and what people read. A leading ~ is left for the machine.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from components.gateway.service_manifests import SERVICE, files, service
from stacks import names
from stacks.plan import DockerPlan, ModelPlan, Plan

_NETWORK: Final = "engines"
_HEALTHY = (
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout={timeout}); "
    "c.request('GET', '{path}'); raise SystemExit(c.getresponse().status != 200)"
)
_HEALTH_RETRIES = 12  # with a look every 10 s the two minutes of the pods' liveness probe
_CPU_SHARES = 1024  # of one processor, as the kubelet counts them


def compose_file(plan: Plan, docker: DockerPlan) -> dict[str, Any]:
    """All services of the stack, their network and their scratch volumes."""
    labels = {names.STACK_LABEL: plan.stack}
    volumes = {_scratch(model): {"name": f"{docker.name}-{_scratch(model)}", "labels": labels} for model in plan.models}
    secrets = {_env_file(model): model.engine.api_key_variable for model in plan.models if plan.auth != "none"}
    services = {model.name: _service(model, plan, docker) for model in plan.models}
    # engines do not reach each other: one network that forbids it, or one for each engine and the gateway
    fetches = plan.gateway is not None and plan.gateway.oidc is not None and plan.gateway.oidc.source is not None
    # of equal networks the first by name leads outside (moby, libnetwork/sandbox.go: Endpoint.Less); beside a gateway
    # no engine is on it
    networks = {_NETWORK: _network(docker.name, plan.stack, "false", answered=fetches)}
    if plan.gateway:
        own = [model.name for model in plan.models]
        networks |= {name: _network(names.container(docker.name, name), plan.stack, "true") for name in own}
        services[SERVICE] = service(plan.gateway, docker, plan, [_NETWORK, *own])
    return {
        "name": docker.name,
        # which variables of which files beside this one hold the endpoint's key: in no argument and no label
        **({"x-api-key": secrets} if secrets else {}),
        **({"x-gateway": files(plan.gateway)} if plan.gateway else {}),
        "services": services,
        "networks": networks,
        "volumes": volumes,
    }


def _network(name: str, stack: str, between: str, *, answered: bool = False) -> dict[str, Any]:
    """A bridge that gets no answers from outside of the machine, unless `answered`; `between`: whether containers reach
    each other.
    """
    options = {
        "com.docker.network.bridge.enable_icc": between,
        "com.docker.network.bridge.enable_ip_masquerade": str(answered).lower(),
    }
    return {"name": name, "driver": "bridge", "driver_opts": options, "labels": {names.STACK_LABEL: stack}}


def _service(model: ModelPlan, plan: Plan, docker: DockerPlan) -> dict[str, Any]:
    resources, life = model.resources, model.lifecycle
    memory = f"{resources.memory_limit_mib}m"
    service: dict[str, Any] = {
        "container_name": names.container(docker.name, model.name),
        "image": model.image,
        "pull_policy": {"Never": "never", "IfNotPresent": "missing"}[model.pull_policy],
        "command": list(model.args),
        "environment": dict(sorted(model.environment.items())),
        **({"env_file": [_env_file(model)]} if plan.auth != "none" else {}),
        "user": f"{names.ENGINE_UID}:{names.ENGINE_UID}",
        "read_only": model.read_only_root_filesystem,
        "privileged": False,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": docker.pids_limit,
        "cpus": float(resources.cpu_limit),
        "cpu_shares": int(resources.cpu_request) * _CPU_SHARES,
        "mem_limit": memory,
        "memswap_limit": memory,  # the same: no swap, as in a pod
        "mem_reservation": f"{resources.memory_request_mib}m",
        "shm_size": f"{resources.shared_memory_mib}m",
        "ports": [] if plan.gateway else [_port(model, docker)],
        "volumes": [
            {"type": "bind", "source": plan.cache_folder, "target": names.MODELS_MOUNT, "read_only": True},
            # on the disk and not a tmpfs: what compilers leave there would count against the memory limit
            {"type": "volume", "source": _scratch(model), "target": "/tmp"},  # noqa: S108  (the container's own)
        ],
        "healthcheck": _health_check(model),
        "restart": "unless-stopped",
        "stop_grace_period": f"{life.termination_grace_seconds - life.pre_stop_seconds}s",
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "2"}},
        "networks": [model.name if plan.gateway else _NETWORK],
    }
    if resources.gpus:
        service["deploy"] = {"resources": {"reservations": {"devices": [_cards(model, plan)]}}}
    if plan.shared_cards and (earlier := _before(model, plan)):
        service["depends_on"] = {name: {"condition": "service_healthy"} for name in earlier}
    digest = hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()[:12]
    service["labels"] = {names.STACK_LABEL: plan.stack, names.DIGEST_LABEL: digest}
    return service


def _port(model: ModelPlan, docker: DockerPlan) -> dict[str, Any]:
    return {"target": names.HTTP_PORT, "published": str(model.port), "host_ip": docker.address, "protocol": "tcp"}


def _health_check(model: ModelPlan) -> dict[str, Any]:
    """The engine's own health path, asked from inside: no image is sure to hold curl, and each one holds Python."""
    life = model.lifecycle
    code = _HEALTHY.format(port=names.HTTP_PORT, timeout=names.HEALTH_SECONDS, path=model.engine.health_path)
    return {
        "test": ["CMD", "python3", "-I", "-S", "-c", code],
        "interval": f"{life.startup_period_seconds}s",
        "timeout": f"{names.HEALTH_SECONDS + 5}s",  # the interpreter starts first
        "retries": _HEALTH_RETRIES,
        "start_period": f"{life.startup_period_seconds * life.startup_failures}s",
    }


def _cards(model: ModelPlan, plan: Plan) -> dict[str, Any]:
    """The cards that the plan gives the model, by the numbers of nvidia-smi; under WSL2 there is one device, all."""
    request: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    if plan.machine.platform == "wsl2":
        return {**request, "count": "all"}
    own = sorted({card.index for card in plan.cards for share in card.shares if share.model == model.name})
    return {**request, "device_ids": [str(index) for index in own]}


def _before(model: ModelPlan, plan: Plan) -> list[str]:
    """The models that start before this one on a card that both use."""
    found = set()
    for card in plan.cards:
        own = [share.start_order for share in card.shares if share.model == model.name]
        found |= {s.model for s in card.shares if own and s.start_order < min(own) and s.model != model.name}
    return sorted(found)


def _env_file(model: ModelPlan) -> str:
    return f"{model.engine.name}.env"


def _scratch(model: ModelPlan) -> str:
    return f"{model.name}-scratch"
