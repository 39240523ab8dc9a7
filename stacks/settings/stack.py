"""One stack file as a whole. `Settings.from_config` is the one way in: it takes the map that Pulumi hands a program
(names
without the project prefix) and returns frozen settings, or raises one `SettingsError` that lists everything wrong.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from stacks import names
from stacks.errors import Problem, SettingsError, shown
from stacks.settings.base import Intent
from stacks.settings.cluster import ClusterSettings, unsuited
from stacks.settings.gateway import GatewaySettings, NamedModels, NoGateway, unknown_names
from stacks.settings.gpu import GpuSettings, faults
from stacks.settings.lora import adapter_names, taken_names
from stacks.settings.machine import DETECTABLE, CpuMachine, NvidiaMachine
from stacks.settings.models import DEFAULT_PORT, ModelSettings
from stacks.settings.options import ModelCache, Security
from stacks.settings.problems import Fault, problems_from

PROJECT = "local-ai-lab"

# Read with `require_secret` where they are used and never through Settings, so that no model can print them.
SECRET_KEYS = {
    "apiKey": "the bearer token that clients of the endpoint must send",
    "huggingFaceToken": "a read token for gated models",
}
_MOST_MODELS = len(names.ENDPOINT_PORTS)  # each needs a port of its own


class Settings(Intent):
    """One stack file."""

    machine: Annotated[
        NvidiaMachine | CpuMachine,
        Field(discriminator="kind", description="The machine itself: facts, not preferences."),
    ]
    cluster: Annotated[
        ClusterSettings,
        Field(discriminator="driver", description="Which Kubernetes carries the stack."),
    ]
    models: tuple[ModelSettings, ...] = Field(
        min_length=1, max_length=_MOST_MODELS, description="What is to be served."
    )
    objective: Literal["throughput", "latency", "context", "replicas"] | None = Field(
        default=None,
        description="What the rest of the card is spent on; without it, every setting is taken as it is written.",
    )
    gpu: GpuSettings = Field(default_factory=GpuSettings, description="How pods get at the cards, and share them.")
    model_cache: ModelCache = Field(default_factory=ModelCache, description="Where weights are kept.")
    security: Security = Field(default_factory=Security, description="Hardening that may be lowered, visibly.")
    gateway: Annotated[
        GatewaySettings,
        Field(discriminator="kind", description="How clients reach the models."),
    ] = Field(default_factory=NoGateway, description="How clients reach the models.")
    host_changes: Literal["ask", "allow"] = Field(
        default="ask", description="allow: `lab up` does not ask before it changes the machine."
    )

    @model_validator(mode="after")
    def _parts_suit_each_other(self) -> Settings:
        found = _collisions([(m.name, m.port) for m in self.models]) + unsuited(self.machine.kind, self.cluster.driver)
        served = [(m.name, adapter_names(m)) for m in self.models]
        found += taken_names(served)
        if self.cluster.driver == "existing" and "model_cache" in self.model_fields_set:
            message = "names a folder of the machine, and an existing cluster keeps weights in a claim of its own"
            found.append((".modelCache", message, "remove it; cluster.storage says class and size of the claim"))
        if isinstance(self.gateway, NamedModels):
            aliases = [(alias.name, [target.model for target in alias.models]) for alias in self.gateway.aliases]
            found += unknown_names(
                [name for name, _ in served], aliases, adapters=[a for _, own in served for a in own]
            )
        shared = isinstance(self.machine, NvidiaMachine) and self.machine.shared_card
        found += faults(self.gpu, machine=self.machine.kind, driver=self.cluster.driver, shared_card=shared)
        if found:
            raise Fault(*found)
        return self

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        file: str = "the stack configuration",
        secret_keys: frozenset[str] = frozenset(),
        detected: Mapping[str, int] | None = None,
    ) -> Settings:
        """Settings from the configuration map of one stack; keys have no project prefix.

        `secret_keys` are the keys that Pulumi decrypted; `detected` is what a machine without a GPU has of the things
        that its stack file may leave out. Raises SettingsError with every problem found.
        """
        given = {key: value for key, value in config.items() if key not in SECRET_KEYS}
        filled = _left_out(given, detected or {})
        if filled:
            given["machine"] = {**given["machine"], **filled}
        misplaced = sorted((secret_keys & set(config)) - set(SECRET_KEYS))
        bare = sorted(key for key in SECRET_KEYS if key in config and key not in secret_keys)
        error, more = None, []
        try:
            # Strict JSON mode: lists become tuples, and nothing else is converted.
            settings = cls.model_validate_json(json.dumps(given, allow_nan=True), by_alias=True, by_name=False)
        except ValidationError as invalid:
            error = invalid
            # then nobody looked at the whole yet
            if any(detail["loc"] for detail in invalid.errors(include_url=False)):
                more = _problems_of_the_whole(given, file)
        # such as a number of ten thousand digits, which no file reader lets through
        except (RecursionError, ValueError):
            problem = Problem(
                file,
                "config",
                "is nested too deeply, or holds a number without end",
                "write it as the other stack files are written",
            )
            raise SettingsError([problem]) from None
        if error or misplaced or bare:
            raise SettingsError(
                [*problems_from(error, cls, file=file, project=PROJECT, misplaced=misplaced, bare=bare), *more]
            )
        if filled and isinstance(settings.machine, CpuMachine):
            return settings.model_copy(update={"machine": settings.machine.with_detected(tuple(filled))})
        return settings


def _left_out(given: Mapping[str, Any], detected: Mapping[str, int]) -> dict[str, int]:
    """What was detected of the machine and is not in the file."""
    machine = given.get("machine")
    if not isinstance(machine, Mapping) or machine.get("kind") != "cpu":
        return {}
    return {key: detected[key] for key in DETECTABLE if key in detected and key not in machine}


def _collisions(models: Sequence[tuple[object, object]]) -> list[tuple[str, str, str]]:
    """Names and ports that several models have; each model is (name, port)."""
    found = []
    taken = {port for _, port in models if isinstance(port, int)}
    for place, key in enumerate(("name", "port")):
        first: dict[object, int] = {}
        for index, model in enumerate(models):
            value = model[place]
            if value in first:
                remedy = "give each model a name of its own"
                if key == "port":
                    free = names.free_port(taken)  # there is one: no more models than ports are allowed
                    remedy = f"write port: {free}"
                    taken.add(free)
                found.append(
                    (
                        f".models[{index}].{key}",
                        f"{shown(str(value))} is what models[{first[value]}] already has",
                        remedy,
                    )
                )
            first.setdefault(value, index)
    return found


def _problems_of_the_whole(given: Mapping[str, Any], file: str) -> list[Problem]:
    """The same, where single settings are wrong and no whole could be made: of what can be read."""

    def part(value: object, key: str, default: object = None) -> object:
        found = value.get(key, default) if isinstance(value, Mapping) else None
        return found if isinstance(found, str | int) and not isinstance(found, bool) else None

    models = given.get("models")
    pairs = (
        [(part(m, "name"), part(m, "port", DEFAULT_PORT)) for m in models]
        if isinstance(models, list) and len(models) <= _MOST_MODELS
        else []
    )
    served = _served(models) if pairs else []
    seen = [(name if name else object(), port if port else object()) for name, port in pairs]
    found = _collisions(seen) + unsuited(part(given.get("machine"), "kind"), part(given.get("cluster"), "driver"))
    found += taken_names(served)
    if all(name for name, _ in pairs):
        adapters = [name for _, own in served for name in own]
        found += unknown_names([name for name, _ in pairs], _aliases(given.get("gateway")), adapters=adapters)
    return [Problem(file, f"{PROJECT}:{path.lstrip('.')}", message, remedy) for path, message, remedy in found]


def _served(models: Any) -> list[tuple[object, list[object]]]:
    """The models' names and their adapters', as far as they can be read."""
    found: list[tuple[object, list[object]]] = []
    for model in models:
        name = model.get("name") if isinstance(model, Mapping) else None
        own: list[object] = []
        with contextlib.suppress(LookupError, TypeError):
            own = [module["name"] for module in model["lora"]["modules"] if isinstance(module["name"], str)]
        found.append((name if isinstance(name, str) else object(), own))
    return found


def _aliases(gateway: Any) -> list[tuple[object, list[object]]]:
    """The aliases of a gateway that can be read, as (name, names of models); none where one of them cannot."""
    found: list[tuple[object, list[object]]] = []
    try:
        for alias in gateway["aliases"]:
            targets = [target["model"] for target in alias["models"]]
            if not all(isinstance(name, str) for name in (alias["name"], *targets)):
                return []
            found.append((alias["name"], targets))
    except (LookupError, TypeError):
        return []
    return found
