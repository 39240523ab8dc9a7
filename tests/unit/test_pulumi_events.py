"""The CLI's stream of events, as `--json` prints it, becomes steps, messages and an end."""

from __future__ import annotations

import json
from typing import Any

from cli.pulumi.events import Event, Outcome, Reader

STACK = "urn:pulumi:dev::local-ai-lab::pulumi:pulumi:Stack::local-ai-lab-dev"
SERVICE = "urn:pulumi:dev::local-ai-lab::lab:gateway:Gateway$kubernetes:core/v1:Service::m-endpoint"
CHECK = "urn:pulumi:dev::local-ai-lab::lab:inference_check:InferenceCheck$command:local:Command::check"


def _metadata(op: str, urn: str, **more: Any) -> dict[str, Any]:
    state = {
        "type": urn.split("::")[2].rsplit("$", maxsplit=1)[-1],
        "urn": urn,
        "custom": "$" in urn,
        "parent": STACK,
        "inputs": {"a": 1},
        "provider": "p::id",
    }
    return {"metadata": {"op": op, "urn": urn, "type": state["type"], "old": None, "new": state, **more}}


def _read(*events: dict[str, Any] | str) -> tuple[Outcome, list[Event]]:
    told: list[Event] = []
    reader = Reader(told.append)
    for number, event in enumerate(events):
        reader.line(
            event if isinstance(event, str) else json.dumps({"sequence": number, "timestamp": 1, **event}) + "\n"
        )
    return reader.outcome, told


def test_a_resource_begins_and_ends() -> None:
    outcome, told = _read(
        {"resourcePreEvent": _metadata("create", SERVICE)},
        {"resOutputsEvent": _metadata("create", SERVICE)},
        {"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"create": 1, "same": 0}}},
    )
    assert [(e.kind, e.step.name if e.step else "") for e in told] == [
        ("started", "m-endpoint"),
        ("done", "m-endpoint"),
    ]
    (step,) = outcome.steps
    assert (step.op, step.type, step.parent, step.provider, step.inputs) == (
        "create",
        "kubernetes:core/v1:Service",
        STACK,
        "p::id",
        {"a": 1},
    )
    assert outcome.summary == {"create": 1}
    assert outcome.ok


def test_a_resource_that_stays_as_it_is_is_a_step_and_no_beginning() -> None:
    outcome, told = _read(
        {"resourcePreEvent": _metadata("same", SERVICE)}, {"resOutputsEvent": _metadata("same", SERVICE)}
    )
    assert [e.kind for e in told] == ["done"]
    assert [s.op for s in outcome.steps] == ["same"]


def test_a_replacement_is_one_step() -> None:
    outcome, told = _read(
        {"resourcePreEvent": _metadata("create-replacement", CHECK)},
        {"resOutputsEvent": _metadata("create-replacement", CHECK)},
        {"resourcePreEvent": _metadata("replace", CHECK)},
        {"resOutputsEvent": _metadata("replace", CHECK)},
        {"resourcePreEvent": _metadata("delete-replaced", CHECK)},
        {"resOutputsEvent": _metadata("delete-replaced", CHECK)},
    )
    assert [s.op for s in outcome.steps] == ["replace"]
    assert [e.kind for e in told] == ["started", "done"]


def test_what_a_resource_says_meanwhile_is_status_and_what_it_complains_of_stays() -> None:
    outcome, told = _read(
        {"resourcePreEvent": _metadata("create", SERVICE)},
        {
            "diagnosticEvent": {
                "urn": SERVICE,
                "message": "<{%reset%}>[1/3] Finding Pods<{%reset%}>\n",
                "severity": "info",
                "ephemeral": True,
            }
        },
        {"diagnosticEvent": {"message": "registering resource", "severity": "debug"}},
        {"diagnosticEvent": {"urn": SERVICE, "message": "port 30080 is taken\n", "severity": "error"}},
        {"resOpFailedEvent": _metadata("create", SERVICE) | {"status": 0, "steps": 1}},
        {"diagnosticEvent": {"urn": STACK, "message": "update failed\n", "severity": "error"}},
    )
    assert [(e.kind, e.text) for e in told] == [
        ("started", ""), ("status", "[1/3] Finding Pods"), ("message", "port 30080 is taken"), ("failed", ""),
        ("message", "update failed"),
    ]  # fmt: skip
    assert outcome.messages == ["port 30080 is taken"]
    assert [d["severity"] for d in outcome.diagnostics] == ["error", "error"]


def test_words_before_the_stream_are_kept_for_the_error() -> None:
    outcome, _ = _read("error: no stack named 'dev' found\n")
    outcome.code = 255
    assert not outcome.ok
    assert outcome.messages == ["error: no stack named 'dev' found"]


def test_a_run_that_was_stopped_is_not_ok() -> None:
    outcome, _ = _read()
    outcome.interrupted = True
    assert not outcome.ok
