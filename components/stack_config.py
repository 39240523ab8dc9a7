"""Pulumi's configuration as the map that Settings takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config


@dataclass(frozen=True)
class ProgramConfig:
    """`values` without the project prefix, objects parsed; `secret_keys` as Pulumi marks them; `secrets` by declared
    key.
    """

    values: Mapping[str, Any]
    secret_keys: frozenset[str]
    secrets: Mapping[str, pulumi.Output[str]]


def read(declared_secrets: Iterable[str]) -> ProgramConfig:
    """All configuration of this project, unknown keys included, so that Settings can refuse them."""
    config, prefix = pulumi.Config(), f"{pulumi.get_project()}:"
    # The SDK has no public way to list keys; these two are what its own Config reads.
    everything = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
    own = {key.removeprefix(prefix): text for key, text in everything.items() if key.startswith(prefix)}
    secret_keys = {k.removeprefix(prefix) for k in runtime_config.get_config_secret_keys_env()}
    secret_keys |= {key for key in own if runtime_config.is_config_secret(f"{prefix}{key}")}
    values = {key: ("[secret]" if key in secret_keys else _parsed(text)) for key, text in own.items()}
    secrets = {key: config.require_secret(key) for key in declared_secrets if key in own}
    return ProgramConfig(values, frozenset(secret_keys), secrets)


def _parsed(text: str) -> object:
    """Objects, lists, numbers and booleans arrive as JSON text; anything else is a string, and so is what JSON does not
    hold.
    """
    try:
        parsed: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return parsed


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
