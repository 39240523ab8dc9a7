"""One package for each serving engine, and nothing that every engine shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stacks.planning.engines.engine import Engine
from stacks.planning.engines.vllm import Vllm

ENGINES: Final[Mapping[str, Engine]] = {engine.name: engine for engine in (Vllm(),)}
"""Every serving engine by the word that stack files use."""
