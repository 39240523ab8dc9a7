"""A service of a compose file as Docker's API takes it, and what of a container differs from that. Looks at nothing.

Only what the lab's own compose files say is known; anything else is refused, so that nothing is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from host.drivers.docker.spec import Spec
from stacks import names
from stacks.errors import HostError

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
_NANO = 10**9
_KNOWN = frozenset({
    "container_name", "image", "pull_policy", "command", "environment", "env_file", "user", "read_only", "privileged",
    "cap_drop", "security_opt", "pids_limit", "cpus", "cpu_shares", "mem_limit", "memswap_limit", "mem_reservation",
    "shm_size", "ports", "volumes", "healthcheck", "restart", "stop_grace_period", "logging", "networks", "deploy",
    "depends_on", "labels",
})  # fmt: skip


def body(name: str, spec: Spec) -> dict[str, Any]:
    """The request that creates the container of service `name` (POST /containers/create). Raises HostError for a key
    that is not known.
    """
    service = spec.document["services"][name]
    if unknown := sorted(set(service) - _KNOWN):
        raise HostError(f"service {name}: {', '.join(unknown)} is not known to this release")
    health, port_map = service["healthcheck"], _ports(service)
    variables = {**service["environment"], **spec.secrets(service)}
    return {
        "Image": service["image"],
        "Cmd": list(service["command"]),
        "Env": [f"{variable}={value}" for variable, value in sorted(variables.items())],
        "User": service["user"],
        "Labels": {**service["labels"], **spec.key_mark(service)},
        "ExposedPorts": {port: {} for port in port_map},
        "StopTimeout": seconds(service["stop_grace_period"]),
        "Healthcheck": {
            "Test": list(health["test"]),
            "Interval": seconds(health["interval"]) * _NANO,
            "Timeout": seconds(health["timeout"]) * _NANO,
            "StartPeriod": seconds(health["start_period"]) * _NANO,
            "Retries": health["retries"],
        },
        "HostConfig": _host_config(service, spec, port_map),
        "NetworkingConfig": {"EndpointsConfig": {networks(service, spec)[0]: {"Aliases": [name]}}},
    }


def differences(name: str, spec: Spec, found: Mapping[str, Any], image: Mapping[str, Any] | None) -> list[str]:
    """What of the container `found` (as inspected) is not as the service says, in the engine's own words; `image` is
    what the service's image name stands for now. A key that is not known here is not compared.
    """
    wanted = body(name, spec)
    config, host = found.get("Config") or {}, found.get("HostConfig") or {}
    secret = spec.secrets(spec.document["services"][name]) if spec.api_key is None else {}
    if spec.api_key is None:
        wanted["Labels"].pop(names.KEY_LABEL, None)
    wrong = [f"HostConfig.{key}" for key, value in wanted["HostConfig"].items() if not _same(value, host.get(key))]
    if set(host.get("PortBindings") or {}) - set(wanted["HostConfig"]["PortBindings"]):
        wrong.append("HostConfig.PortBindings")
    for key in ("Image", "Cmd", "User", "Labels", "StopTimeout", "Healthcheck"):
        if not _same(wanted[key], config.get(key)):
            wrong.append(f"Config.{key}")
    own = (image or {}).get("Config") or {}
    if _variables(own.get("Env"), wanted["Env"], without=secret) != _variables(config.get("Env"), without=secret):
        wrong.append("Config.Env")
    if image is not None:
        if found.get("Image") != image.get("Id"):
            wrong.append("Image")
        if (config.get("Entrypoint") or []) != (own.get("Entrypoint") or []):
            wrong.append("Config.Entrypoint")
    joined = (found.get("NetworkSettings") or {}).get("Networks") or {}
    if set(joined) != set(networks(spec.document["services"][name], spec)):
        wrong.append("NetworkSettings.Networks")
    return wrong


def seconds(text: str) -> int:
    """A duration such as `90s`. Raises HostError."""
    found = re.fullmatch(r"([0-9]+)s", text)
    if found is None:
        raise HostError(f"{text} is no duration in seconds")
    return int(found[1])


def size(text: str) -> int:
    """A size such as `512m`, in bytes. Raises HostError."""
    found = re.fullmatch(r"([0-9]+)([kmg])", text)
    if found is None:
        raise HostError(f"{text} is no size")
    return int(found[1]) * _UNITS[found[2]]


def _host_config(service: Mapping[str, Any], spec: Spec, port_map: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "PortBindings": dict(port_map),
        "RestartPolicy": {"Name": service["restart"], "MaximumRetryCount": 0},
        "NetworkMode": networks(service, spec)[0],
        "Mounts": [_mount(volume, spec) for volume in service["volumes"]],
        "ReadonlyRootfs": service["read_only"],
        "Privileged": service["privileged"],
        "CapAdd": [],
        "CapDrop": list(service["cap_drop"]),
        "SecurityOpt": list(service["security_opt"]),
        "PidsLimit": service["pids_limit"],
        "NanoCpus": round(service["cpus"] * _NANO),
        "CpuShares": service["cpu_shares"],
        "Memory": size(service["mem_limit"]),
        "MemorySwap": size(service["memswap_limit"]),
        "MemoryReservation": size(service["mem_reservation"]),
        "ShmSize": size(service["shm_size"]),
        "LogConfig": {"Type": service["logging"]["driver"], "Config": dict(service["logging"]["options"])},
        "DeviceRequests": _device_requests(service),
        "Devices": [],
        "Binds": [],
        "PidMode": "",
        "IpcMode": "private",
    }


def _ports(service: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    return {
        f"{port['target']}/{port['protocol']}": [{"HostIp": port["host_ip"], "HostPort": port["published"]}]
        for port in service["ports"]
    }


def networks(service: Mapping[str, Any], spec: Spec) -> list[str]:
    """The networks of a service by their own names: it is created on the first one and joins the others."""
    return [str(spec.document["networks"][network]["name"]) for network in service["networks"]]


def _mount(volume: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    if volume["type"] == "bind":
        return {
            "Type": "bind", "Source": volume["source"], "Target": volume["target"], "ReadOnly": volume["read_only"],
        }  # fmt: skip
    source = spec.document["volumes"][volume["source"]]["name"]
    return {"Type": "volume", "Source": source, "Target": volume["target"]}


def _device_requests(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    requests = []
    for device in devices:
        if "device_ids" in device:
            which = {"Count": 0, "DeviceIDs": list(device["device_ids"])}
        else:
            which = {"Count": -1 if device["count"] == "all" else int(device["count"]), "DeviceIDs": []}
        requests.append(
            {"Driver": device["driver"], **which, "Capabilities": [list(device["capabilities"])], "Options": {}}
        )
    return requests


def _variables(*lists: list[str] | None, without: Mapping[str, str]) -> dict[str, str]:
    """The variables of lists of NAME=VALUE, a later one over an earlier one."""
    pairs = (text.partition("=") for some in lists for text in some or ())
    return {name: value for name, _, value in pairs if name not in without}


def _same(wanted: Any, found: Any) -> bool:
    """Whether `found` holds all of `wanted`; what is empty in one is absent in the other."""
    if not wanted and not found:
        return True
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(_same(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_same, wanted, found))
    return bool(wanted == found)
