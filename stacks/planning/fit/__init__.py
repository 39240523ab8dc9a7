"""What vLLM does with a card's memory: a pure predictor for one engine start, vLLM 0.6 to 0.33, V0 and V1.

    architecture = read_hf_config(config)                       # config.json as a map; CatalogError names missing keys
    run = EngineRun(architecture=architecture, version="0.33.0", total_gib=7.79, free_gib=6.9, capability=(7, 5),
    quantization="awq", ...)
    answer = predict(run)                                       # a Prediction; well under a millisecond
    answer.verdict                                              # Verdict.FITS, REFUSES or TOO_CLOSE; emit FITS only
    kv_needed_gib(run, max_model_len=4096, requests=8)          # GiB for --kv-cache-memory-bytes: `requests`
    full-length requests
    outside_gib(run)                                            # CUDA context, NCCL, real graphs: beside the budget
    largest_len(run, kv_gib=1.5)                                # longest max_model_len that a pool holds

Memory is GiB (2^30 bytes) of one card, lengths are tokens. Fitted constants stand in stacks/catalog/engine_memory.yaml,
each with the rows it was fitted on; everything else is vLLM's own arithmetic, and the docstring beside it names the
file it was read in.
"""

from stacks.planning.fit.architecture import Architecture, Attention, Experts, Layer, State, Vision
from stacks.planning.fit.hf_config import read_hf_config
from stacks.planning.fit.parts import outside_gib
from stacks.planning.fit.predict import kv_needed_gib, largest_len, predict
from stacks.planning.fit.run import GIB, Condition, EngineRun, Prediction, Speculation, Verdict

__all__ = [
    "GIB",
    "Architecture",
    "Attention",
    "Condition",
    "EngineRun",
    "Experts",
    "Layer",
    "Prediction",
    "Speculation",
    "State",
    "Verdict",
    "Vision",
    "kv_needed_gib",
    "largest_len",
    "outside_gib",
    "predict",
    "read_hf_config",
]
