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

# where the NVIDIA runtime and CDI put the host's driver, and what the image had before
_DRIVER_LIBRARIES = "/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/usr/local/cuda/lib64"


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
    libraries = {"LD_LIBRARY_PATH": _DRIVER_LIBRARIES}
    notes.decide(
        "LD_LIBRARY_PATH",
        _DRIVER_LIBRARIES,
        "default",
        "vllm#33447, gpustack#4678",
        "the host's driver before the image's own compat libraries, which end in error 803 on consumer cards",
    )
    if machine.platform == "wsl2":
        notes.decide(
            "VLLM_WSL2_ENABLE_PIN_MEMORY",
            "1",
            "default",
            "vllm#43381, vllm#47292",
            "without it the engine ends with 'UVA is not available' under WSL2",
        )
        return {**_OWN_ENVIRONMENT, **libraries, "VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}
    return {**_OWN_ENVIRONMENT, **libraries}
