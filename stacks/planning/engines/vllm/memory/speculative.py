"""Heads that draft tokens: what they add to a network."""

from __future__ import annotations

from dataclasses import replace

from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention


def mtp_head(shape: Architecture) -> Architecture:
    """A multi-token-prediction head: one attention layer of the network with its MLP or experts, and the projection of
    two hidden states to one. Embedding and output head are the network's own.
    """
    attention = next((layer for layer in reversed(shape.layers) if isinstance(layer, Attention)), None)
    return replace(
        shape,
        layers=() if attention is None else (attention,),
        linear_weights=shape.layer_weights + 2 * shape.hidden**2,
        recurrent_weights=0,
        router_weights=0,
        vision_weights=0,
        vision=None,
        experts=None,
        vocabulary=0,
        max_positions=0,
        tied_embeddings=True,
    )
