"""When a node counts as ready."""

import datetime

import pytest

from host.drivers.embedded import api, observe
from tests.host.test_embedded_configs import layout


def _ago(seconds):
    return (
        (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    )


def _answers(monkeypatch, *, status="True", heartbeat=0.0, lease=None, node=True):
    def request(_layout, _method, path, *_, **__):
        if "leases" in path:
            if lease is None:
                raise api.ApiError("no lease", 404)
            return {"spec": {"renewTime": _ago(lease)}}
        if not node:
            raise api.ApiError("no node", 404)
        return {
            "status": {
                "conditions": [
                    {"type": "Ready", "status": status, "lastHeartbeatTime": _ago(heartbeat), "message": "no network"}
                ]
            }
        }

    monkeypatch.setattr(api, "request", request)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({}, ""),
        ({"status": "False"}, "no network"),
        ({"heartbeat": 200, "lease": 5}, ""),
        ({"heartbeat": 200, "lease": 100}, "last reported 100 s ago"),
        ({"heartbeat": 200}, "no lease"),
        ({"node": False}, "no node"),
    ],
)
def test_a_node_is_ready_when_its_kubelet_lives_and_says_so(monkeypatch, answers, problem):
    _answers(monkeypatch, **answers)
    said = observe.node_problem(layout())
    assert (problem in said) if problem else said == ""
