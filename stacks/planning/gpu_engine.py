"""One model on a GPU: dtype, the share of the card, and the proof that one full request fits into what is left for the KV cache."""

from __future__ import annotations

from stacks.catalog import Gpu, Image, Model
from stacks.planning.draft import EngineChoice, Inputs, Notes, gib, kv_pool
from stacks.planning.memory import activation_gib, derived_utilization, kv_shape, loaded_weights_gib
from stacks.planning.plan import MemoryPlan
from stacks.settings import NvidiaMachine, VllmModel

_BFLOAT16_FROM = (8, 0)


def on_gpu(
    wish: VllmModel, model: Model, machine: NvidiaMachine, image: Image, inputs: Inputs, notes: Notes
) -> tuple[EngineChoice, MemoryPlan]:
    """What the engine is told and the arithmetic behind it; refusals and decisions go to `notes`."""
    number, gpu = inputs.catalog.number, inputs.catalog.gpu(machine.gpu)
    dtype = _dtype(wish, model, gpu, notes)
    _check_image(wish, gpu, machine, image, notes)
    batched = max(int(number("gpuEngine.maxNumBatchedTokens")), wish.concurrent_requests)
    notes.decide(
        "maxNumBatchedTokens", batched, "default", inputs.catalog.fact("gpuEngine.maxNumBatchedTokens").source, "at least maxNumSeqs"
    )
    shape = kv_shape(
        model,
        block=int(number("gpuEngine.blockSize")),
        max_num_batched_tokens=batched,
        batches_in_flight=int(number("gpuEngine.batchesInFlight")),
    )
    total, total_source = _total_gib(wish, gpu, machine, notes)
    shown = machine.display or machine.platform == "wsl2"
    desktop = number(f"platforms.{machine.platform}.{'desktopGiB' if shown else 'headlessGiB'}")
    context = number(f"cudaContextGiB.{gpu.capability[0]}")
    largest = number("gpuEngine.largestUtilization")
    utilization = _utilization(wish, total=total, desktop=desktop, context=context, largest=largest, source=total_source, notes=notes)
    parts = {
        "weights": loaded_weights_gib(model),
        "activations": activation_gib(model, max_num_batched_tokens=batched, max_num_seqs=wish.concurrent_requests, catalog=inputs.catalog),
        "non-torch": number("gpuEngine.nonTorchGiB"),
        "CUDA graphs": number("gpuEngine.cudaGraphsGiB"),
        "error band": number("gpuEngine.errorBandGiB"),
    }
    budget = utilization * total
    left, needed = budget - sum(parts.values()), shape.needed_gib(wish.context_tokens)
    arithmetic = f"{gib(budget)} budget" + "".join(f" - {gib(size)} {name}" for name, size in parts.items())
    _prove(wish, gpu, left=left, needed=needed, arithmetic=arithmetic, notes=notes)
    tokens, concurrency = kv_pool(shape, left, wish.context_tokens)
    source = "stacks/planning/memory.py"
    notes.decide("kvCache", gib(max(left, 0.0)), "derived", source, f"{arithmetic}; holds {tokens:,} tokens")
    notes.decide("concurrency", f"{concurrency:.2f}x", "derived", source, f"requests of {wish.context_tokens} tokens held at once")
    memory = MemoryPlan(
        device="gpu",
        total_gib=round(total, 3),
        desktop_gib=round(desktop, 3),
        context_gib=round(context, 3),
        budget_gib=round(budget, 3),
        weights_gib=round(parts["weights"], 3),
        activation_gib=round(parts["activations"], 3),
        non_torch_gib=round(parts["non-torch"], 3),
        cuda_graphs_gib=round(parts["CUDA graphs"], 3),
        error_band_gib=round(parts["error band"], 3),
        kv_cache_gib=round(max(left, 0.0), 3),
        kv_needed_gib=round(needed, 3),
        kv_tokens=tokens,
        concurrency=concurrency,
    )
    return EngineChoice(dtype, batched, utilization, enforce_eager=False), memory


def _total_gib(wish: VllmModel, gpu: Gpu, machine: NvidiaMachine, notes: Notes) -> tuple[float, str]:
    fact = gpu.memory.get(machine.platform)
    if fact is None:
        notes.refuse(
            f"{wish.name}: the catalogue has no memory figure for {gpu.name} under {machine.platform}; as far as known it runs on linux only"
        )
        fact = gpu.memory["linux"]
    return fact.value, fact.source


def _utilization(wish: VllmModel, *, total: float, desktop: float, context: float, largest: float, source: str, notes: Notes) -> float:
    pinned = wish.pin.gpu_memory_utilization
    if pinned is None:
        derived = derived_utilization(total_gib=total, desktop_gib=desktop, context_gib=context, largest=largest)
        reason = f"({gib(total)} - {gib(desktop)} desktop and driver - {gib(context)} CUDA context) / {gib(total)}, rounded down, at most {largest:.2f}"
        notes.decide("gpuMemoryUtilization", f"{derived:.2f}", "derived", source, reason)
        return derived
    notes.decide("gpuMemoryUtilization", f"{pinned:.2f}", "stated", "stack file", "pin.gpuMemoryUtilization")
    free = total - desktop - context
    if pinned * total > free:
        notes.refuse(
            f"{wish.name}: pin.gpuMemoryUtilization {pinned:.2f} x {gib(total)} = {gib(pinned * total)}, and {gib(free)} are free beside the "
            f"desktop ({gib(desktop)}) and the CUDA context ({gib(context)}); vLLM would refuse: Free memory on device is less than desired."
        )
    return pinned


def _prove(wish: VllmModel, gpu: Gpu, *, left: float, needed: float, arithmetic: str, notes: Notes) -> None:
    """vLLM's own two start conditions: something is left for the KV cache, and one full request fits into it."""
    if left <= 0:
        notes.refuse(
            f"{wish.name}: no memory is left for the KV cache on {gpu.name}: {arithmetic} = {gib(left)}; vLLM would refuse: "
            "No available memory for the cache blocks."
        )
    elif needed > left:
        notes.refuse(
            f"{wish.name}: one request of {wish.context_tokens} tokens needs {gib(needed)} of KV cache, and {gib(left)} are available on "
            f"{gpu.name}: {arithmetic}; vLLM would refuse: To serve at least one request with the model's max seq len "
            f"({wish.context_tokens}), {gib(needed)} KV cache is needed, which is larger than the available KV cache memory."
        )


def _dtype(wish: VllmModel, model: Model, gpu: Gpu, notes: Notes) -> str:
    has = f"{gpu.name} has compute capability {gpu.compute_capability.value}"
    if model.quantization == "awq":
        notes.decide("dtype", "float16", "derived", "vLLM's awq kernels", "AWQ computes in float16 on every card")
        return "float16"
    if gpu.capability >= _BFLOAT16_FROM:
        notes.decide("dtype", model.checkpoint_dtype, "derived", "catalogue", f"the checkpoint's own; {has}")
        return model.checkpoint_dtype
    if not model.float16:
        notes.refuse(
            f"{wish.name}: {wish.model} runs in bfloat16 only, and {has}; vLLM would refuse: "
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0."
        )
    notes.decide("dtype", "float16", "derived", gpu.compute_capability.source, f"bfloat16 needs compute capability 8.0, {has}")
    return "float16"


def _check_image(wish: VllmModel, gpu: Gpu, machine: NvidiaMachine, image: Image, notes: Notes) -> None:
    least = image.minimum_compute_capability
    if least and gpu.capability < tuple(int(part) for part in least.value.split(".")):
        notes.refuse(
            f"{wish.name}: {image.reference} needs compute capability {least.value}, and {gpu.name} has {gpu.compute_capability.value}"
        )
    driver = image.minimum_driver
    if driver is None:
        return
    if machine.nvidia_driver is None:
        unstated = "the stack file states no machine.nvidiaDriver; `nvidia-smi` prints it"
        notes.decide("nvidiaDriver", f">= {driver.value}", "default", driver.source, unstated)
    elif int(machine.nvidia_driver.split(".")[0]) < driver.value:
        notes.refuse(
            f"{wish.name}: {image.reference} needs driver {driver.value} or newer, and machine.nvidiaDriver is {machine.nvidia_driver}; "
            "upgrade the driver"
        )
    else:
        notes.decide("nvidiaDriver", machine.nvidia_driver, "stated", "stack file", f"the image needs {driver.value} or newer")
