"""How scripts of Commands end before their time: cancelled, late, or with an engine or a plugin that was killed."""

import os
import signal
import subprocess
import time

import pytest

from tests.e2e.pulumi.project import Project, wait_for

pytestmark = pytest.mark.e2e

_DAEMON = "import os, time; os.setsid(); os.close(1); os.close(2); time.sleep(600)"


def _begin(project: Project, create: str) -> subprocess.Popen[str]:
    """An `up` that is in the middle of a script which has begun."""
    begun = project.folder / "begun"
    project.write({"a": {"create": f"touch {begun}; {create}", "delete": "true"}})
    process = project.start("up")
    wait_for(begun)
    return process


def _again(project: Project) -> None:
    (project.folder / "begun").unlink()
    project.up({"a": {"create": "echo done"}})
    assert project.outputs("a")["stdout"] == "done"
    assert project.only()


def test_ctrl_c_ends_the_script_with_all_that_it_started(project: Project, stand_in: None) -> None:
    told = project.folder / "told"
    process = _begin(project, f"sleep 500 & trap 'echo cleaned; touch {told}; exit 9' TERM; sleep 500 & wait")
    process.send_signal(signal.SIGINT)
    stopped = project.ended(process)
    assert stopped.code != 0
    assert told.exists()
    assert "it was cancelled" in stopped.error("a")
    assert "cleaned" in stopped.live("a")
    assert not [m for m in stopped.messages() if "Traceback" in m]
    assert project.only()
    _again(project)


def test_ctrl_c_leaves_daemons_that_made_a_session_of_their_own(project: Project, stand_in: None) -> None:
    try:
        process = _begin(project, f'python3 -c "{_DAEMON}" & sleep 1; sleep 500')
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        assert project.ended(process).code != 0
        assert project.only("os.setsid()")
    finally:
        project.end()


def test_a_script_that_ignores_the_signal_is_killed(project: Project, stand_in: None) -> None:
    process = _begin(project, "trap '' TERM; sleep 500 & while true; do sleep 500; done")
    process.send_signal(signal.SIGINT)
    assert project.ended(process).code != 0
    assert project.only()


def test_a_second_ctrl_c_leaves_nothing_either(project: Project, stand_in: None) -> None:
    process = _begin(project, "trap '' TERM; sleep 500 & while true; do sleep 500; done")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert project.ended(process).code != 0
    assert project.only()


@pytest.mark.parametrize(
    "create",
    ["sleep 500 & sleep 500", "trap '' TERM; sleep 500 & while true; do sleep 500; done"],
    ids=["polite", "deaf"],
)
def test_a_killed_cli_leaves_nothing_running(project: Project, stand_in: None, create: str) -> None:
    process = _begin(project, create)
    os.kill(process.pid, signal.SIGKILL)
    assert project.ended(process).code == -signal.SIGKILL
    assert project.only()
    project.call("cancel", "--yes")
    _again(project)


def test_the_end_of_a_lost_plugin_takes_the_script_along(project: Project, stand_in: None) -> None:
    process = _begin(project, "exec sleep 500")
    (plugin,) = [p for p, line in project.processes().items() if "pulumi-resource-command" in line]
    os.kill(plugin, signal.SIGKILL)
    assert project.ended(process).code != 0
    assert project.only()


def test_a_timeout_ends_the_script_and_all_that_it_started(project: Project, stand_in: None) -> None:
    failed = project.up({"a": {"create": "echo begun; sleep 500 & sleep 500; echo over", "timeout": "1s"}}, fails=True)
    assert "it took longer than 1 s" in failed.error("a")
    assert failed.live("a") == ["begun"]
    assert project.only()
