"""What vLLM does with a card's memory: a pure predictor for one engine start, vLLM 0.10.2 to 0.33.

    architecture = read_hf_config(config)                       # config.json as a map; CatalogError names missing keys
    run = EngineRun(architecture=architecture, version="0.33.0", total_gib=7.79, free_gib=6.9, capability=(7, 5),
    quantization="awq", ...)
    answer = predict(run)                                       # a Prediction; well under a millisecond
    answer.verdict                                              # Verdict.FITS, REFUSES or TOO_CLOSE; emit FITS only
    answer.band_gib, answer.band_parts                          # how sure, and what is not known
    kv_needed_gib(run, max_model_len=4096, requests=8)          # GiB for --kv-cache-memory-bytes: `requests`
    full-length requests
    outside_gib(run)                                            # CUDA context, real graphs: beside the budget
    answer.serving_peak_gib                                     # a step with prompt_logprobs, beside everything else
    largest_len(run, kv_gib=1.5)                                # longest max_model_len that a pool holds
    replace(run, measured=learn(run, kv_gib=1.62))              # a start that ran narrows the band of the next

Memory is GiB (2^30 bytes) of one card, lengths are tokens. Constants stand in stacks/catalog/engine_memory.yaml, each
with the rows it was fitted on or the file that it was read in; everything else is vLLM's own arithmetic, and the
docstring beside it names where it was read.
"""

from stacks.planning.engines.vllm.memory.adapters import adapter_file_gib
from stacks.planning.engines.vllm.memory.architecture import (
    Architecture,
    Attention,
    Audio,
    Experts,
    Layer,
    State,
    Vision,
)
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config
from stacks.planning.engines.vllm.memory.learning import learn
from stacks.planning.engines.vllm.memory.parts import outside_gib
from stacks.planning.engines.vllm.memory.predict import kv_needed_gib, largest_len, predict
from stacks.planning.engines.vllm.memory.run import (
    GIB,
    Assumed,
    Condition,
    EngineRun,
    Measured,
    Prediction,
    Speculation,
    Verdict,
)
from stacks.planning.engines.vllm.memory.speculative import mtp_head
from stacks.planning.engines.vllm.memory.versions import OLDEST, OldVersionError

__all__ = [
    "GIB",
    "OLDEST",
    "Architecture",
    "Assumed",
    "Attention",
    "Audio",
    "Condition",
    "EngineRun",
    "Experts",
    "Layer",
    "Measured",
    "OldVersionError",
    "Prediction",
    "Speculation",
    "State",
    "Verdict",
    "Vision",
    "adapter_file_gib",
    "kv_needed_gib",
    "largest_len",
    "learn",
    "mtp_head",
    "outside_gib",
    "predict",
    "read_hf_config",
]
