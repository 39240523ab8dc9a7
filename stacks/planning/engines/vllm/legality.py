"""What vLLM runs on which card: dtype, quantization kernels, KV cache dtype, attention backend, images; and what it
says where it does not.

The facts are stacks/catalog/legality.yaml. Each check returns the sentence that the engine (or CUDA, or transformers)
would have died with, and the nearest legal choice; it never raises for a combination that is merely illegal.
"""

from __future__ import annotations

from dataclasses import dataclass

from stacks.catalog.legality import Backend, KvDtype, Method, load
from stacks.catalog.quantization import SCHEMES, SERVED
from stacks.catalog.versions import parse
from stacks.planning.engines.vllm.memory import OLDEST, Architecture, Attention

Capability = tuple[int, int]


@dataclass(frozen=True)
class Illegal:
    """A combination that does not run: `would_say` is what ends the engine, `nearest` is the nearest legal choice,
    `source` the rule's.
    """

    what: str
    would_say: str
    nearest: str
    source: str

    def __str__(self) -> str:
        return f"{self.what}; it would end with: {self.would_say} Nearest: {self.nearest}."


def capability(text: str) -> Capability:
    """`7.5` as (7, 5)."""
    major, minor = text.split(".")
    return int(major), int(minor)


def minimum_capability(quantization: str, engine: str) -> Capability:
    """The least compute capability on which the scheme has kernels in version `engine`."""
    rows = [m for m in _rule(quantization).minimum if parse(m.since) <= parse(engine)]
    return capability(max(rows, key=lambda m: parse(m.since)).capability)


def _rule(quantization: str) -> Method:
    return load().quantization[SCHEMES[quantization].method]


def check_quantization(quantization: str | None, card: Capability, engine: str) -> Illegal | None:
    """Whether the checkpoint's quantization runs on the card."""
    if quantization is None or card >= (least := minimum_capability(quantization, engine)):
        return None
    said = (
        f"The quantization method {SCHEMES[quantization].method} is not supported for the current GPU. Minimum "
        f"capability: {_number(least)}. Current capability: {_number(card)}."
    )
    legal = [name for name in SERVED if minimum_capability(name, engine) <= card]
    what = f"{quantization} has kernels from compute capability {_dotted(least)} on in vLLM {engine}"
    return Illegal(
        f"{what}, and the card has {_dotted(card)}",
        said,
        f"a 16-bit checkpoint or one in {', '.join(legal)}",
        _rule(quantization).source,
    )


def dtype_for(
    *, checkpoint: str, quantization: str | None, float16_works: bool, card: Capability
) -> tuple[str, str, str]:
    """(dtype, source, reason) for a legal combination; for an illegal one the checkpoint's own (see `check_dtype`)."""
    rule = _rule(quantization) if quantization else None
    runs_bfloat16 = card >= capability(load().dtypes["bfloat16"].capability)
    if rule and checkpoint not in rule.dtypes:
        return rule.dtypes[0], rule.source, f"{quantization} computes in {' or '.join(rule.dtypes)}"
    if checkpoint == "bfloat16" and not runs_bfloat16 and float16_works and not (rule and "float16" not in rule.dtypes):
        reason = f"bfloat16 needs compute capability 8.0, the card has {_dotted(card)}"
        return "float16", load().dtypes["bfloat16"].source, reason
    if checkpoint == "float32" and float16_works:
        return "float16", "vllm/config/model.py _resolve_auto_dtype", "what vLLM makes of a checkpoint in float32"
    if checkpoint == "float32" and runs_bfloat16:
        reason = "what vLLM makes of a checkpoint in float32 whose network float16 breaks"
        return "bfloat16", "vllm/config/model.py _resolve_auto_dtype, _is_valid_dtype", reason
    return checkpoint, "catalogue", f"the checkpoint's own; the card has compute capability {_dotted(card)}"


def check_dtype(dtype: str, card: Capability, gpu_name: str) -> Illegal | None:
    """Whether the card computes in `dtype`."""
    rule = load().dtypes.get(dtype)
    if rule is None or card >= capability(rule.capability):
        return None
    said = (
        f"{dtype.capitalize()} is only supported on GPUs with compute capability of at least {rule.capability}. Your "
        f"{gpu_name} GPU has compute capability {_dotted(card)}."
    )
    what = f"the model runs in {dtype} only, and {gpu_name} has compute capability {_dotted(card)}"
    return Illegal(what, said, "a model that vLLM serves in float16", rule.source)


def check_kv_dtype(
    kv_dtype: KvDtype, card: Capability, engine: str, *, quantization: str | None = None
) -> Illegal | None:
    """Whether the KV cache may be kept in `kv_dtype` on the card."""
    if kv_dtype == "auto":
        return None
    rule = load().kv_cache[kv_dtype]
    if kv_dtype == "fp8_e5m2" and quantization in ("fp8", "fp8_block"):
        said = "fp8_e5m2 kv-cache is not supported with fp8 checkpoints."
        return Illegal(
            "an FP8 checkpoint excludes an e5m2 KV cache", said, "kvCacheDtype: auto", "vllm/attention/layer.py"
        )
    if card >= capability(rule.capability):
        return None
    nearest: KvDtype = rule.instead
    if nearest != "auto" and check_kv_dtype(nearest, card, engine, quantization=quantization):
        nearest = "auto"
    if card >= capability(load().kv_cache["fp8_e5m2"].capability):
        said = "type fp8e4nv not supported in this architecture. The supported fp8 dtypes are ('fp8e4b15', 'fp8e5')"
    else:
        said = f"No valid attention backend found for cuda with AttentionSelectorConfig(kv_cache_dtype={kv_dtype})."
    what = f"a KV cache in {kv_dtype} needs compute capability {rule.capability}, and the card has {_dotted(card)}"
    return Illegal(what, said, f"kvCacheDtype: {nearest}", rule.source)


def attention_backend(card: Capability, engine: str) -> Backend | None:
    """The backend that this version picks on the card by itself; None where it has none (cards below 7.0)."""
    for row in load().attention:
        if capability(row.capability) <= card < capability(row.below) and parse(row.since) <= parse(engine):
            return row
    return None


def check_attention(card: Capability, engine: str) -> Illegal | None:
    """Whether any attention backend runs on the card."""
    if attention_backend(card, engine):
        return None
    what = f"vLLM {engine} has no attention backend for compute capability {_dotted(card)}"
    return Illegal(
        what,
        "CUDA error: no kernel image is available for execution on the device",
        "a card of 7.5 or newer",
        "legality.yaml",
    )


def last_image(card: Capability) -> str:
    """What is left to the owner of a card that has no kernels in any image of the catalogue; "" for a newer one."""
    for row in load().last_images:
        if capability(row.capability) <= card < capability(row.below):
            if row.image is None:
                return f"no image of vLLM ever ran on compute capability {_dotted(card)}"
            return (
                f"the newest image that runs on compute capability {_dotted(card)} is {row.image}, older than "
                f"{OLDEST}, the oldest engine that is planned here; by hand: docker run --gpus all "
                f"-p 127.0.0.1:8000:8000 {row.image} --model REPOSITORY --dtype half"
            )
    return ""


def check_remote_code(repository: str, *, needed: bool, trusted: bool) -> Illegal | None:
    """Code from the model's repository runs only where the stack file says so."""
    if not needed or trusted:
        return None
    said = (
        f"The repository {repository} contains custom code which must be executed to correctly load the model. Please "
        "pass the argument `trust_remote_code=True` to allow custom code to be run."
    )
    nearest = "read that code, pin its revision and write trustRemoteCode: true, or take a model that vLLM knows"
    return Illegal("the model needs code of its own repository", said, nearest, "transformers: dynamic_module_utils.py")


def check_tensor_parallel(shape: Architecture, cards: int) -> str | None:
    """Why vLLM cannot split the network over `cards` cards, or None (vllm/config/model.py,
    verify_with_parallel_config: heads; model_executor/layers/linear.py: KV heads are split or repeated).
    """
    if shape.heads % cards:
        return f"its {shape.heads} attention heads cannot be split over {cards} cards"
    for layer in dict.fromkeys(layer for layer in shape.layers if isinstance(layer, Attention)):
        if layer.kind != "mla" and layer.kv_heads % cards and cards % layer.kv_heads:
            return f"its {layer.kv_heads} key-value heads cannot be split over {cards} cards, nor repeated evenly"
    return None


def check_sharing(engine: str) -> Illegal | None:
    """Whether several engines of this version may share a card."""
    least = load().sharing.minimum
    if parse(engine) >= parse(least.value):
        return None
    what = f"vLLM {engine} counts its neighbours' memory as its own"
    return Illegal(what, "No available memory for the cache blocks.", f"vLLM {least.value} or newer", least.source)


def has_kv_bytes(engine: str) -> bool:
    """Whether --kv-cache-memory-bytes exists in this version."""
    return parse(engine) >= parse(load().sharing.kv_bytes.value)


def _dotted(card: Capability) -> str:
    return f"{card[0]}.{card[1]}"


def _number(card: Capability) -> int:
    """Compute capability as vLLM prints it: 75."""
    return card[0] * 10 + card[1]
