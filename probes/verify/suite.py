"""The probes as a list, how they are run, and what is said of them."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx

from probes.verify import access, models, requests, routing, tasks, tokens, transport
from probes.verify.target import Target

_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Probe:
    """`run` returns an empty text, or what it found."""

    name: str
    run: Callable[[Target], str]

    @property
    def what(self) -> str:
        """What is tried, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass(frozen=True)
class Outcome:
    """What one probe said; `finding` is empty where all is well."""

    name: str
    what: str
    finding: str
    seconds: float


def _named(*functions: Callable[[Target], str]) -> list[Probe]:
    return [Probe("-".join(function.__name__.split("_")), function) for function in functions]


PROBES: Final[tuple[Probe, ...]] = (
    *_named(
        access.no_key, access.wrong_key, access.revoked_key, access.key_prefix, access.key_in_query,
        access.list_without_key, access.enumeration, access.bypass_without_key, access.bypass_with_key,
        access.underscores, access.methods, access.traversal, access.wrong_host, access.preflight, access.no_cors,
        access.upgrade, models.narrow_key, models.narrow_key_tricks,
        requests.too_long, requests.too_long_without_key, requests.full_length, requests.batch,
        requests.large_headers, requests.slow_body, requests.slow_headers, requests.length_and_chunks,
        requests.two_lengths, requests.odd_encoding, requests.space_before_colon, requests.folded_header,
        requests.gzipped, requests.other_type, requests.no_model, requests.rate_limit, requests.unknown_model,
        routing.right_model, routing.right_alias, routing.listing, routing.model_paths_without_key,
        routing.model_paths, routing.model_path_of_another, routing.session,
        tokens.forged_token, tokens.token_elsewhere, tokens.claimed_name,
        tasks.speech_too_long, tasks.speech_without_length, tasks.speech_other_type,
        transport.certificate, transport.old_tls, transport.plain_text, transport.error_shape, transport.fingerprint,
        transport.log_canary, transport.private_files, transport.engines_closed,
    ),
    *(Probe(f"path {path}", access.forbidden(path)) for path in access.FORBIDDEN),
)  # fmt: skip
"""Every probe."""


def run(target: Target, probes: Sequence[Probe] = PROBES) -> list[Outcome]:
    """Runs probes, some at a time; a gateway that does not answer is a finding too."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda probe: _outcome(probe, target), probes))


def _outcome(probe: Probe, target: Target) -> Outcome:
    began = time.monotonic()
    try:
        finding = probe.run(target)
    except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
        finding = f"no answer that can be read: {error or type(error).__name__}"
    return Outcome(probe.name, probe.what, finding, round(time.monotonic() - began, 3))


def as_json(stack: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """For programs."""
    return {
        "stack": stack,
        "probes": len(outcomes),
        "findings": sum(bool(o.finding) for o in outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def as_junit(stack: str, outcomes: Sequence[Outcome]) -> str:
    """For CI: one test case a probe."""
    findings = sum(bool(o.finding) for o in outcomes)
    suite = ET.Element("testsuite", name=f"lab verify {stack}", tests=str(len(outcomes)), failures=str(findings))
    for outcome in outcomes:
        case = ET.SubElement(suite, "testcase", name=outcome.name, classname="verify", time=f"{outcome.seconds:.3f}")
        if outcome.finding:
            ET.SubElement(case, "failure", message=outcome.finding).text = outcome.what
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
