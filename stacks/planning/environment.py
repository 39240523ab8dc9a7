"""Environment variables of the engines."""

from __future__ import annotations

from stacks.planning.draft import Inputs, Notes

_OWN_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108  (an emptyDir of the pod: the only writable place)
    "USER": "vllm",  # the uid has no passwd entry, and torch asks for the user's name
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def engine_environment(inputs: Inputs, notes: Notes) -> dict[str, str]:
    """The same for every engine of a stack, with its decisions; what the stack file adds comes on top."""
    machine = inputs.settings.machine
    offline = "weights lie in the cache, nothing is looked up or reported; /tmp is the only writable place"
    notes.decide(
        "environment", " ".join(f"{k}={v}" for k, v in _OWN_ENVIRONMENT.items()), "default", "the lab", offline
    )
    if machine.kind == "cpu":
        space = inputs.catalog.fact("cpuEngine.kvCacheGiB")
        return {**_OWN_ENVIRONMENT, "VLLM_CPU_KVCACHE_SPACE": f"{space.value:g}"}
    if machine.platform == "wsl2":
        notes.decide(
            "VLLM_WSL2_ENABLE_PIN_MEMORY",
            "1",
            "default",
            "vllm#43381, vllm#47292",
            "without it the engine ends with 'UVA is not available' under WSL2",
        )
        return {**_OWN_ENVIRONMENT, "VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}
    return dict(_OWN_ENVIRONMENT)
