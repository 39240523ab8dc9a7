"""The model cache and one workload for each model; no address that clients see."""
