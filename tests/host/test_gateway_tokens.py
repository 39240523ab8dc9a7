"""What the pinned Envoy cannot do: count the tokens of answers without a service for limits (docs/adr/0013). The day
this fails, a limit in tokens can be built.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from probes.verify.target import CHAT, chat_body
from tests.support import live_gateway
from tests.support.live_gateway import answering, wait_until

pytestmark = pytest.mark.long
TYPE = "type.googleapis.com/envoy.extensions.filters.http."
CLIENT = [{"request_headers": {"header_name": "x-client-id", "descriptor_key": "client"}}]


def bucket(tokens: int) -> dict[str, Any]:
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "60s"}


def counts_tokens(document: dict[str, Any]) -> None:
    """A bucket of 100 for each client: one at the request, and `usage.total_tokens` when the answer ends."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    ended = {"actions": CLIENT, "hits_addend": {"format": "%DYNAMIC_METADATA(usage:tokens)%"}}
    limit = {
        "@type": f"{TYPE}local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "tokens",
        "token_bucket": bucket(1_000_000),
        "filter_enabled": always,
        "filter_enforced": always,
        "rate_limits": [{"actions": CLIENT}, {**ended, "apply_on_stream_done": True}],
        "descriptors": [{"entries": [{"key": "client"}], "token_bucket": bucket(100)}],
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    }
    rule = {
        "selectors": [{"key": "usage"}, {"key": "total_tokens"}],
        "on_present": {"metadata_namespace": "usage", "key": "tokens", "type": "NUMBER"},
    }
    usage = {"@type": f"{TYPE}json_to_metadata.v3.JsonToMetadata", "response_rules": {"rules": [rule]}}
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][1:2] = [
        {"name": "tokens", "typed_config": limit}, {"name": "usage", "typed_config": usage},
    ]  # fmt: skip
    manager["access_log"][0]["typed_config"]["log_format"]["json_format"]["tokens"] = "%DYNAMIC_METADATA(usage:tokens)%"


def test_tokens_of_an_answer_are_read_and_are_not_taken_from_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        live_gateway.ANSWER, "usage", {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    )
    with answering(tmp_path, change=counts_tokens) as made:
        target = made.target()
        found = [target.ask("POST", CHAT, key=target.spare_key, json=chat_body("a", "Hi")) for _ in range(3)]
        wait_until(lambda: '"tokens":30' in made.log())
    left = [int(answer.headers["x-ratelimit-remaining"]) for answer in found]
    assert [answer.status_code for answer in found] == [200, 200, 200]
    assert [before - after for before, after in itertools.pairwise(left)] == [1, 1]  # and not 31
