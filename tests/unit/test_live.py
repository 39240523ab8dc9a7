"""What `up` shows of a run that is not on a terminal."""

from __future__ import annotations

import pytest

from cli.pulumi.events import Event, Step
from cli.render.live import Watch

COMMAND = Step("create", "urn:a", "command:local:Command", "cluster-ensure", "", "", custom=True, inputs={})


def test_a_commands_progress_is_shown_and_its_answer_for_machines_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch() as watch:
        watch(Event("started", COMMAND))
        watch(Event("status", COMMAND, '{"cluster": "c", "changed": []}'))
        watch(Event("status", COMMAND, 'network: 0.1 s\n{"cluster": "c"}'))
    said = capsys.readouterr().err
    assert "      network: 0.1 s\n" in said
    assert "{" not in said
