"""What of Envoy Gateway, AIBrix, Kubernetes and vLLM goes with what, typed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stacks.catalog.entries import entry, read_yaml
from stacks.catalog.schema import Entry, Fact
from stacks.catalog.versions import parse

_FILE = Path(__file__).with_name("gateways.yaml")

Needs = Literal["nothing", "metric", "prometheus", "optimizer", "roles", "user"]
"""What a routing strategy asks for beside AIBrix's plugin and Redis."""


class EnvoyGatewayEntry(Entry):
    """One version of Envoy Gateway that may be installed; images are ids of images.yaml, the embedded ones are made on
    the machine.
    """

    kubernetes: Fact[tuple[str, ...]]
    gateway_api: Fact[str]
    end_of_life: Fact[str]
    chart: Fact[str]
    chart_version: Fact[str]
    image: str
    proxy_image: str
    embedded_image: str
    embedded_proxy_image: str


class Vulnerable(Entry):
    """`fixed_in` are the first good versions of their lines; what is older is never installed."""

    fixed_in: Fact[tuple[str, ...]]


class Strategy(Entry):
    """One of AIBrix's ways to choose a replica; `metric` is what it reads of engines, where it needs one."""

    needs: Needs
    metric: str | None = None
    ref: str


class AIBrixEntry(Entry):
    """One version of AIBrix. The sums are what its release manifests request, in thousandths of a processor and MiB."""

    release: Fact[str]
    envoy_gateways: Fact[tuple[str, ...]]
    image: str
    paths: Fact[tuple[str, ...]]
    rerank_paths: Fact[tuple[str, ...]]
    message_bytes_variable: Fact[str] | None
    upstream_cpu_millis: Fact[int]
    upstream_memory_mib: Fact[int] = Field(alias="upstreamMemoryMiB")
    routing: dict[str, Strategy]


class Metric(Entry):
    """A gauge of vLLM: the first version that has it, and the first that does not."""

    since: str
    until: str | None
    ref: str

    def is_in(self, version: str) -> bool:
        """Whether that vLLM shows it without a flag."""
        return parse(self.since) <= parse(version) and (self.until is None or parse(version) < parse(self.until))


Count = Annotated[int, Field(gt=0)]


class Size(Entry):
    """What one part requests and may take; no limit: the plan computes it."""

    cpu_millis: Fact[Count]
    memory_request_mib: Fact[Count] = Field(alias="memoryRequestMiB")
    memory_limit_mib: Fact[Count] | None = Field(default=None, alias="memoryLimitMiB")


class Gateways(Entry):
    """The whole table."""

    envoy_gateways: Mapping[str, EnvoyGatewayEntry]
    vulnerable: Vulnerable
    aibrix: Mapping[str, AIBrixEntry]
    metrics: Mapping[str, Metric]
    sizes: Mapping[str, Size]

    def is_vulnerable(self, version: str) -> bool:
        """Whether an Envoy Gateway is older than the first good version of its line, or of the oldest good line."""
        found, floors = parse(version), sorted(parse(floor) for floor in self.vulnerable.fixed_in.value)
        own = [floor for floor in floors if floor[:2] == found[:2]]
        return found < (own[0] if own else floors[0])

    def nearest(self, version: str, among: tuple[str, ...]) -> str:
        """The least of the supported versions that is as new, or else the newest."""
        known = sorted(among, key=parse)
        return next((other for other in known if parse(other) >= parse(version)), known[-1])


@cache
def load_gateways() -> Gateways:
    """The table that ships with the lab. Raises CatalogError where it contradicts the schema."""
    file = f"stacks/catalog/{_FILE.name}"
    return entry(Gateways, "gateways", read_yaml(_FILE.read_text(encoding="utf-8"), file), file)
