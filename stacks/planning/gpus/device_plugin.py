"""Who runs NVIDIA's device plugin, how it is configured, and which RuntimeClass GPU pods name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from stacks import names
from stacks.plan import DevicePluginMode, DevicePluginPlan, RuntimeClassPlan, SharingPlan
from stacks.planning.draft import Inputs, Notes
from stacks.settings import Settings

MODES: Final[Mapping[str, tuple[DevicePluginMode, ...]]] = {
    "embedded": ("owned",),
    "minikube": ("owned", "patched", "existing"),
    "k3s": ("owned", "existing"),
    "existing": ("existing",),
    "docker": (),
}
"""Each driver's modes, its default first. Patched is for clusters with NVIDIA's static manifest: minikube's add-on."""

_DEFAULT_REASONS: Final[Mapping[str, str]] = {
    "embedded": "nobody else runs it",
    "minikube": "minikube's add-on stays off: it cannot be told to share a card, and two plugins would both register",
    "k3s": "K3s brings none",
}
_REASONS: Final[Mapping[DevicePluginMode, str]] = {
    "owned": "pinned by digest, with a configuration of its own",
    "patched": "fields of ours are added to the cluster's own DaemonSet, and given back on destroy",
    "existing": f"nothing is installed; the nodes must offer {names.GPU} already, which `lab doctor` looks at",
}
_NVIDIA: Final = "nvidia"
"""What K3s calls the RuntimeClass that it makes itself, and what NVIDIA's documentation calls it everywhere."""


def mode(settings: Settings) -> DevicePluginMode | None:
    """Who runs the plugin; None where there is no Kubernetes."""
    modes = MODES[settings.cluster.driver]
    return (settings.gpu.device_plugin or modes[0]) if modes else None


def unsuited(settings: Settings) -> str | None:
    """Why the stated mode does not work with the driver, or None."""
    stated, driver = settings.gpu.device_plugin, settings.cluster.driver
    if stated is None or stated in MODES[driver]:
        return None
    why = {
        "patched": f"adds fields to a device plugin that the cluster runs, and {driver} runs none",
        "existing": f"needs a cluster that offers {names.GPU} already, and {driver} makes one that does not",
        "owned": f"has no meaning with {driver}",
    }[stated]
    return f"gpu.devicePlugin: {stated} {why}; write devicePlugin: {' or '.join(MODES[driver])}, or remove the line"


def plan_device_plugin(inputs: Inputs, sharing: SharingPlan, notes: Notes) -> DevicePluginPlan | None:
    """The plugin's slice, and why it is run so."""
    settings = inputs.settings
    chosen = mode(settings)
    if chosen is None:
        return None
    stated = settings.gpu.device_plugin is not None
    if settings.cluster.driver != "existing":  # whose own plan says it
        _decide(chosen, settings, notes, stated=stated)
    image = inputs.catalog.images["nvidia-device-plugin"]
    return DevicePluginPlan(
        mode=chosen,
        image=image.reference,
        pull_policy=image.pull_policy,
        read_only_root_filesystem=settings.security.read_only_root_filesystem,
        config=_config(sharing) if chosen == "owned" else "",
    )


def _decide(chosen: DevicePluginMode, settings: Settings, notes: Notes, *, stated: bool) -> None:
    reason = _REASONS[chosen] if stated else f"{_DEFAULT_REASONS[settings.cluster.driver]}: {_REASONS[chosen]}"
    notes.decide(
        "gpu.devicePlugin",
        chosen,
        "stated" if stated else "default",
        "stack file" if stated else f"driver {settings.cluster.driver}",
        reason,
    )


def plan_runtime_class(inputs: Inputs, notes: Notes) -> RuntimeClassPlan | None:
    """The RuntimeClass that GPU pods name, and who makes it."""
    settings = inputs.settings
    stated, driver = settings.gpu.runtime_class, settings.cluster.driver
    name = stated or (_NVIDIA if driver == "k3s" else None)
    if name is None:
        return None
    ours = driver == "minikube" and mode(settings) == "owned"
    reason = "made by the lab, with a handler of that name" if ours else "the cluster's own"
    if stated is None:
        reason = "K3s makes it when it finds NVIDIA's toolkit; a pod that names it fails visibly where it did not"
    source = "stack file" if stated else f"driver {driver}"
    notes.decide("gpu.runtimeClass", name, "stated" if stated else "default", source, reason)
    return RuntimeClassPlan(name=name, made_by="lab" if ours else "cluster")


def _config(sharing: SharingPlan) -> str:
    """The plugin's configuration file: the fields of its README (NVIDIA/k8s-device-plugin v0.20.0)."""
    flags = {"migStrategy": "single" if sharing.kind == "mig" else "none", "failOnInitError": True}
    config: dict[str, Any] = {"version": "v1", "flags": flags}
    if sharing.kind in ("timeSlicing", "mps"):
        config["sharing"] = {
            sharing.kind: {
                "renameByDefault": False,
                "failRequestsGreaterThanOne": True,  # two shares of a card are no more of it than one
                "resources": [{"name": names.GPU, "replicas": sharing.replicas}],
            }
        }
    return yaml.safe_dump(config, sort_keys=False)
