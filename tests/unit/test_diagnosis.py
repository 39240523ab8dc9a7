"""Why a model does not serve: sentences as vLLM, CUDA, the Hub and Kubernetes print them; each names where it was
read.
"""

from __future__ import annotations

from typing import Any

import pytest

from probes.diagnosis import engine_problem, pod_problem
from probes.diagnosis.engine_log import match
from probes.diagnosis.engine_signatures import ENGINE
from probes.diagnosis.kubernetes_signatures import KUBERNETES
from probes.diagnosis.pod import crashed_container
from probes.diagnosis.problem import clean

# (signature, log, words of the diagnosis); the source of each sentence stands beside it
LOGS: dict[str, tuple[str, str]] = {
    "driver-803": (  # vllm#33447
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver "
        "/ cuda driver combination",
        "compat libraries hide the host's driver",
    ),
    "driver-too-old": (  # torch/cuda/__init__.py
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
        "older than the image's CUDA needs",
    ),
    "no-kernel-image": (  # CUDA error 209
        "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
        "not built for a card this old",
    ),
    # config/device.py
    "no-platform": ("RuntimeError: Failed to infer device type, please set the environment variable", "sees no GPU"),
    "no-cuda-library": (  # torch/cuda/__init__.py
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
        "started without the NVIDIA runtime",
    ),
    # gpu-operator#485
    "nvml": ("pynvml.NVMLError: Failed to initialize NVML: Unknown Error", "NVML says Unknown Error"),
    "device-busy": (  # production-stack#504
        "torch.AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "holds the card exclusively",
    ),
    "kv-too-small": (  # v1/core/kv_cache_utils.py; the figures of a report of this failure
        "ValueError: To serve at least one request with the model's max seq len (2048), 0.76 GiB KV cache is needed, "
        "which is larger than the available KV cache memory (0.72 GiB). Based on the available memory, the estimated "
        "maximum model length is 1920. Try increasing",
        "one request of 2048 tokens needs 0.76 GiB of KV cache, and 0.72 GiB are left",
    ),
    "no-kv": (  # v1/core/kv_cache_utils.py
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine.",
        "leave nothing for the KV cache",
    ),
    "free-memory": (  # v1/worker/utils.py; the figures of xorbitsai/inference#4637
        "ValueError: Free memory on device cuda:0 (1.52/23.52 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 21.17 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        "1.52 of 23.52 GiB are free on the card, and the engine needs 21.17 GiB",
    ),
    "mamba-blocks": (  # config/compilation.py
        "ValueError: max_num_seqs (256) exceeds available Mamba cache blocks (188). Each decode request needs one",
        "256 requests may run at once, and the cache has room for the recurrent states of 188",
    ),
    "sampler-warmup": (  # v1/worker/gpu_model_runner.py
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try "
        "lowering `max_num_seqs`",
        "the warm-up of the sampler with 256 requests",
    ),
    "uva": ("RuntimeError: UVA is not available", "pinned memory is off"),  # v1/worker/gpu/buffer_utils.py
    "cuda-oom": (  # torch/cuda/memory.py
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 784.00 MiB. GPU 0 has a total capacity of "
        "31.36 GiB of which 195.69 MiB is free.",
        "784.00 MiB more were wanted",
    ),
    "gated": (  # huggingface_hub/errors.py
        "OSError: You are trying to access a gated repo.\nhuggingface_hub.errors.GatedRepoError: 403 Client Error. "
        "Access to model meta-llama/Llama-3.1-8B is restricted",
        "the model is gated",
    ),
    "unauthorized": ("huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url: "
                     "https://huggingface.co/api", "refuses the token"),
    "not-found": ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: Root=1)",
    "does not exist, or is private"),
    "not-in-cache": (  # huggingface_hub/errors.py
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and "
        "outgoing traffic has been disabled.",
        "is not in the cache",
    ),
    # default_loader.py
    "no-weights": ("RuntimeError: Cannot find any model weights with `/models/x`", "no weights in /models/x"),
    "damaged-weights": ("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
    "damaged or cut short"),
    "quantization-card": (  # config/vllm.py
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. "
        "Current capability: 75.",
        "quantization fp8 needs compute capability 89, and the card has 75",
    ),
    # config/model.py
    "quantization": ("ValueError: Unknown quantization method: foo. Must be one of", "quantized in another way"),
    "bfloat16": (  # platforms/cuda.py
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your NVIDIA GeForce "
        "RTX 2060 SUPER GPU has compute capability 7.5.",
        "the card has no bfloat16",
    ),
    "architecture": ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported "
                     "architectures", "does not know the model"),
    "remote-code": (  # transformers_utils/config.py
        "ValueError: please set the option `trust_remote_code=True` in LLM or using the `--trust-remote-code` flag "
        "in the CLI.",
        "wants to run code of its own",
    ),
    "context-too-long": (  # config/model.py
        "ValueError: User-specified max_model_len (40000) is greater than the derived max_model_len "
        "(max_position_embeddings=32768 or",
        "40000 tokens were asked for, and the model was trained for 32768",
    ),
    "shared-memory": ("Fatal Python error: Bus error", "its shared memory is too small"),
    "disk-full": ("OSError: [Errno 28] No space left on device: '/tmp/torchinductor'",
     "the disk, or the pod's scratch space, is full"),
    "read-only": ("PermissionError: [Errno 13] Permission denied: '/.cache'", "outside /tmp"),  # vllm#9118
    "nccl": ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:77, unhandled cuda error",
    "cannot talk to each other"),
    "port": ("OSError: [Errno 98] Address already in use", "port is taken"),
    "exec-format": ("exec /usr/bin/vllm: exec format error", "another processor architecture"),
}  # fmt: skip

AROUND = """(APIServer pid=1) INFO 11-26 13:00:56 [api_utils.py:347]  version 0.31.0
(EngineCore pid=24) WARNING 11-26 13:01:05 [vllm.py:1703] Enforce eager set, disabling torch.compile
\x1b[31m(EngineCore pid=24)\x1b[0m ERROR 11-26 13:01:36 [core.py:1100] EngineCore failed to start.
(EngineCore pid=24) Traceback (most recent call last):
(EngineCore pid=24)   File "/usr/local/lib/python3.12/site-packages/vllm/v1/engine/core.py", line 700, in run_engine_core
{line}
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""  # noqa: E501


@pytest.mark.parametrize("ident", LOGS)
def test_a_logs_end_gives_its_cause_with_the_figures(ident: str) -> None:
    line, words = LOGS[ident]
    found = engine_problem(AROUND.format(line=f"(EngineCore pid=24) {line}"))
    assert found is not None, ident
    assert words in found.what
    assert found.remedy and found.final
    assert found.evidence and "\x1b" not in found.evidence
    assert "{" not in found.what.replace("{stack}", "") and "not printed" not in found.what


def test_every_signature_of_an_engine_is_tried_and_has_a_source() -> None:
    assert {s.ident for s in ENGINE} == set(LOGS)
    for signature in (*ENGINE, *KUBERNETES):
        assert signature.source and signature.what and signature.remedy, signature.ident
    for ident, (line, _) in LOGS.items():
        first = next(s.ident for s in ENGINE if s.pattern.search(line))
        assert first == ident, f"{ident} is taken for {first}"


def test_a_warning_before_the_end_is_not_the_cause() -> None:
    log = (
        "WARNING Bfloat16 is only supported on GPUs with compute capability of at least 8.0\nERROR RuntimeError: "
        "UVA is not available\n"
    )
    found = engine_problem(log)
    assert found and "pinned memory" in found.what


def test_a_log_without_a_known_end_gives_nothing() -> None:
    assert engine_problem("INFO all is well\n") is None
    assert engine_problem("") is None
    assert engine_problem("KeyError: 'foo'\n") is None


def test_evidence_holds_no_secret_and_ends() -> None:
    text = clean(
        "Authorization: Bearer abcdefghijkl api_key='sk-abcdef123456' HF_TOKEN=hf_abcdefghij \x1b[31mred\x1b[0m "
        + "x" * 1000
    )
    assert not any(secret in text for secret in ("abcdefghijkl", "sk-abc", "hf_abc", "\x1b"))
    assert len(text) == 400


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


def _event(reason: str, message: str) -> dict[str, str]:
    return {"type": "Warning", "reason": reason, "message": message}


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
# state of the pod, events, words of the diagnosis, whether waiting is in vain
PODS: dict[str, tuple[dict[str, Any], list[dict[str, str]], str, bool]] = {
    "OOMKilled": (
        {"containerStatuses": [{"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
        [], "more memory than its limit", False,
    ),
    "Evicted for disk": (
        {"phase": "Failed", "reason": "Evicted", "message":
         "The node was low on resource: ephemeral-storage. Threshold quantity: 1"},
        [], "ran short of disk", False,
    ),
    "Evicted for memory": (
        {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}, [],
        "ran short of memory", False,
    ),
    "UnexpectedAdmissionError": (
        {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message":
         "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"},
        [], "could not give the pod its GPU", True,
    ),
    "a disk-pressure taint": (
        {"conditions": [{**UNSCHEDULED, "message":
         "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }."}]},
        [], "ran short of disk", False,
    ),
    "another taint": (
        {"conditions": [{**UNSCHEDULED, "message":
         "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}."}]},
        [], "the node's taint dedicated", False,
    ),
    "no GPU": ({"conditions": [{**UNSCHEDULED, "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu."}]}, [],
    "no GPU is free", False),
    "no memory": ({"conditions": [{**UNSCHEDULED, "message": "0/1 nodes: 1 Insufficient memory."}]}, [],
    "too little memory free", False),
    "nvidia-container-cli": (
        _waiting("RunContainerError", "failed to create shim task: OCI runtime create failed: nvidia-container-cli: "
                                      "initialization error: load library failed"),
        [], "could not set up the container: initialization error", True,
    ),
    "CDI": (
        _waiting("CreateContainerError", "failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=2"),
        [], "does not have nvidia.com/gpu=2", True,
    ),
    "a RuntimeClass that the runtime does not know": (
        _waiting("ContainerCreating"),
        [_event("FailedCreatePodSandBox", 'Failed to create pod sandbox: rpc error: no runtime for "nvidia" is '
                                          'configured')],
        "does not know the pod's RuntimeClass", True,
    ),
    "a sandbox": (_waiting("ContainerCreating"), [_event("FailedCreatePodSandBox", "plugin type=bridge failed")],
    "sandbox cannot be made", True),
    "ErrImageNeverPull": (_waiting("ErrImageNeverPull"), [], "not on the node", True),
    "a denied image": (_waiting("ErrImagePull",
     "failed to pull and unpack image: unauthorized: authentication required"), [], "refuses the image", False),
    "a missing image": (_waiting("ErrImagePull", "failed to pull: manifest unknown"), [], "has no such image", False),
    "a full disk": (_waiting("ErrImagePull", "failed to pull and unpack image: write /x: no space left on device"), [],
    "does not fit on the node's disk", False),
    "ImagePullBackOff": (_waiting("ImagePullBackOff"), [], "cannot be pulled", False),
    "a missing Secret": (_waiting("CreateContainerConfigError", 'secret "endpoint-api-key" not found'), [],
    "a Secret or ConfigMap", True),
    "a missing folder": (_waiting("ContainerCreating"), [_event("FailedMount",
     "MountVolume.NewMounter initialization failed")], "model cache",
                                                                               False),
    "a health check": ({"containerStatuses": [{"state": {"running": {}}}]}, [_event("Unhealthy",
    "Startup probe failed: connection refused")], "health check", False),
    "loading": ({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}, [], "still loading", False),
    "an unknown end": (
        {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": 3}}}]},
        [], "the container keeps ending", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PODS)
def test_a_pods_state_gives_its_cause_and_whether_waiting_helps(name: str) -> None:
    status, events, words, final = PODS[name]
    found = pod_problem({"status": status}, events=events)
    assert found is not None
    assert (words in found.what, found.final) == (True, final), found
    assert found.remedy


def test_the_engines_own_words_come_before_the_kubelets() -> None:
    status = {"containerStatuses": [{"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"reason": "Error", "exitCode": 1}}}]}  # fmt: skip
    found = pod_problem({"status": status}, log="RuntimeError: UVA is not available")
    assert found and ("pinned memory" in found.what, found.final) == (True, True)


def test_a_ready_pod_has_no_cause() -> None:
    assert pod_problem({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}) is None


def test_every_signature_of_kubernetes_is_met_by_a_state() -> None:
    texts = [
        str(state) + " ".join(f"{e['reason']}: {e['message']}" for e in events) for state, events, _, _ in PODS.values()
    ]
    unmet = {s.ident for s in KUBERNETES if not any(s.pattern.search(text) for text in texts)}
    assert unmet == set()
    assert match(KUBERNETES, "nothing of the kind", evidence="") is None


def test_a_pod_that_cannot_fetch_its_weights_says_why_from_its_init_containers_log() -> None:
    ended = {"exitCode": 1, "reason": "Error"}
    fetch = {"name": "weights", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    pod = {
        "status": {
            "phase": "Pending",
            "initContainerStatuses": [{**fetch, "lastState": {"terminated": ended}}],
            "containerStatuses": [{"name": "vllm", "state": {"waiting": {"reason": "PodInitializing"}}}],
        }
    }
    assert crashed_container(pod) == "weights"
    log, what = LOGS["gated"]
    found = pod_problem(pod, log=log)
    assert found and what in found.what
    pod["status"]["initContainerStatuses"] = [{"name": "weights", "state": {"running": {}}}]
    assert crashed_container(pod) is None
    waits = pod_problem(pod)
    assert waits and waits.what == "its weights are being fetched" and not waits.final
