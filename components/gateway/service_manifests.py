"""The gateway as a service of a compose file."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from components.gateway.envoy_manifests import bootstrap
from stacks import names
from stacks.plan import DockerPlan, Plan
from stacks.plan.gateway import GatewayPlan

SERVICE: Final = "gateway"


def service(gateway: GatewayPlan, docker: DockerPlan, plan: Plan, networks: list[str]) -> dict[str, Any]:
    """The service. `user` is left to the machine: the one whose files it reads."""
    memory = f"{gateway.memory_mib}m"
    service: dict[str, Any] = {
        "container_name": names.container(docker.name, SERVICE),
        "image": gateway.image,
        "pull_policy": {"Never": "never", "IfNotPresent": "missing"}[gateway.pull_policy],
        "command": [
            "-c", f"{names.GATEWAY_FOLDER}/bootstrap.json", "--log-level", "warn", "--concurrency", "2",
            "--disable-hot-restart",
        ],
        "environment": {},
        "user": "",
        "read_only": True,
        "privileged": False,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": docker.pids_limit,
        "cpus": float(min(2, plan.machine.cpus)),
        "cpu_shares": 512,
        "mem_limit": memory,
        "memswap_limit": memory,
        "mem_reservation": "64m",
        "shm_size": "16m",
        "ports": [
            {"target": gateway.port, "published": str(gateway.port), "host_ip": gateway.address, "protocol": "tcp"}
        ],
        "volumes": [
            {
                "type": "bind",
                "source": f"{names.state_folder(plan.stack)}/gateway/envoy",
                "target": names.GATEWAY_FOLDER,
                "read_only": True,
            }
        ],
        # the image holds Envoy and nothing that could ask it; what ends is started again, and checks ask through it
        "healthcheck": {"test": ["NONE"], "interval": "0s", "timeout": "0s", "retries": 0, "start_period": "0s"},
        "restart": "unless-stopped",
        "stop_grace_period": "10s",
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "2"}},
        "networks": networks,
    }  # fmt: skip
    made = json.dumps(service, sort_keys=True) + bootstrap(gateway)
    digest = hashlib.sha256(made.encode()).hexdigest()[:12]
    service["labels"] = {names.STACK_LABEL: plan.stack, names.DIGEST_LABEL: digest}
    return service


def files(gateway: GatewayPlan) -> dict[str, Any]:
    """What the machine needs to make the files beside: nothing of it is secret."""
    return {"hosts": list(gateway.hosts), "bootstrap": bootstrap(gateway)}
