"""Commands applied: when each script runs, with what, and what is recorded."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from engine import EngineError, RefusedError, SecretsManager
from engine.apply.lock import lock_state
from tests.engine.apply_support import HEAD, SECRETS, World, errors


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


ONE = HEAD + """
c = local.Command("c", create="echo created; echo oops >&2; echo create >> log", update="echo $PULUMI_COMMAND_STDOUT,$X >> log",
                  delete="echo delete:$PULUMI_COMMAND_STDERR >> log", environment={"X": config.get("x") or "1"},
                  triggers=[config.get("t") or "a"])
pulumi.export("said", c.stdout)
pulumi.export("id", c.id)
"""  # fmt: skip


def test_a_command_runs_once_and_not_again_when_nothing_changed(world: World) -> None:
    first = world.up(ONE)
    before = world.state.read_bytes()
    second = world.up()
    assert (first.ok, first.summary, first.outputs["said"]) == (True, {"create": 2}, "created")
    assert (second.ok, second.summary, second.outputs) == (True, {"same": 2}, first.outputs)
    assert world.log("log") == ["create"]
    assert world.state.read_bytes() == before
    assert not second.changed


def test_a_changed_environment_runs_update_with_what_was_said_before(world: World) -> None:
    world.up(ONE)
    result = world.up(config={"x": "2"})
    assert result.summary == {"same": 1, "update": 1}
    assert world.log("log") == ["create", "created,2"]


def test_a_changed_trigger_creates_first_and_deletes_the_old_one_after(world: World) -> None:
    first = world.up(ONE)
    result = world.up(config={"t": "b"})
    assert result.summary == {"replace": 1, "same": 1}
    assert world.log("log") == ["create", "create", "delete:oops"]
    assert result.outputs["id"] != first.outputs["id"]


def test_without_update_create_runs_again(world: World) -> None:
    text = HEAD + 'local.Command("c", create="echo $N >> log", environment={"N": config.require("n")})'
    world.up(text, config={"n": "1"})
    world.up(config={"n": "2"})
    assert world.log("log") == ["1", "2"]


def test_interpreter_stdin_and_folder_are_honoured_and_one_newline_goes(world: World) -> None:
    (world.folder / "inner").mkdir()
    text = """c = local.Command("c", create="import os,sys; print(sys.stdin.read(), os.path.basename(os.getcwd()), end='\\\\n\\\\n')",
        interpreter=["python3", "-c"], stdin="fed", dir="inner")
pulumi.export("said", c.stdout)"""
    assert world.up(HEAD + text).outputs["said"] == "fed inner\n"


def test_a_command_stays_in_the_session_that_sudo_knows_and_out_of_the_group_that_ctrl_c_reaches(world: World) -> None:
    world.up(HEAD + 'local.Command("c", create="ps -o sid=,pgid= -p $$ > ids")')
    session, group = (int(word) for word in (world.folder / "ids").read_text().split())
    assert session == os.getsid(0)
    assert group != os.getpgrp()


def test_output_is_told_line_by_line_as_it_comes(world: World) -> None:
    world.up(ONE)
    assert ("c", "created") in world.told("output")
    assert {event.stream for event in world.events if event.kind == "output"} == {"stdout", "stderr"}
    assert (world.events[0].kind, world.events[-1].kind) == ("started", "done")


def test_what_the_listener_prints_is_not_swallowed_with_the_programs_output(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.events = type("Printer", (list,), {"append": lambda self, event: print("told", event.kind)})()
    result = world.up(ONE + 'print("from the program")')
    assert "told started" in capsys.readouterr().out
    assert [item.message for item in result.diagnostics] == ["from the program"]


def test_a_failed_command_stops_what_stands_on_it_and_is_tried_again(world: World) -> None:
    text = (
        HEAD
        + """
a = local.Command("a", create="test -e ready || { echo not ready; exit 3; }")
local.Command("b", create="echo b >> log", opts=Opts(depends_on=[a]))
"""
    )
    result = world.up(text)
    assert (result.ok, result.exit_code) == (False, 1)
    assert "the Command a ended with 3" in errors(result)
    assert "not ready" in errors(result)
    assert world.log("log") == []
    assert set(world.recorded()) == {"shop-test", "default_1_2_1"}
    assert "pending_operations" not in world.deployment()
    (world.folder / "ready").touch()
    assert world.up().ok
    assert world.log("log") == ["b"]


def test_a_failed_update_keeps_the_old_inputs_and_is_tried_again(world: World) -> None:
    text = HEAD + 'local.Command("a", create="test ! -e broken && echo $X >> log", environment={"X": config.require("x")})'
    world.up(text, config={"x": "1"})
    (world.folder / "broken").touch()
    assert not world.up(config={"x": "2"}).ok
    assert world.recorded()["a"]["inputs"]["environment"] == {"X": "1"}
    (world.folder / "broken").unlink()
    assert world.up(config={"x": "2"}).summary == {"same": 1, "update": 1}
    assert world.log("log") == ["1", "2"]


def test_a_program_that_fails_deletes_nothing(world: World) -> None:
    world.up(ONE)
    result = world.up(HEAD + "raise pulumi.RunError('no')")
    assert not result.ok
    assert world.log("log") == ["create"]


def test_what_left_the_program_goes_dependants_first(world: World) -> None:
    text = (
        HEAD
        + """
a = local.Command("a", create="true", delete="echo a >> log")
b = local.Command("b", create="true", delete="echo b >> log", opts=Opts(depends_on=[a]))
class Box(pulumi.ComponentResource):
    def __init__(self): super().__init__("shop:a:Box", "box", None, Opts(depends_on=[b]))
local.Command("c", create="true", delete="echo c >> log", opts=Opts(parent=Box()))
"""
    )
    world.up(text)
    result = world.up(HEAD)
    assert world.log("log") == ["c", "b", "a"]
    assert result.summary == {"delete": 4, "same": 1}
    assert set(world.recorded()) == {"shop-test"}


def test_down_runs_delete_in_reverse_and_leaves_an_empty_state(world: World) -> None:
    world.up(ONE)
    result = world.down()
    assert (result.ok, result.summary) == (True, {"delete": 2})
    assert world.log("log") == ["create", "delete:oops"]
    assert world.deployment()["resources"] == []
    assert world.down().summary == {}


def test_what_is_deleted_with_its_host_is_not_deleted_one_by_one(world: World) -> None:
    text = (
        HEAD
        + """
host = local.Command("host", create="true", delete="echo host >> log")
local.Command("guest", create="true", delete="echo guest >> log", opts=Opts(deleted_with=host))
"""
    )
    world.up(text)
    assert world.down().summary == {"delete": 3}
    assert world.log("log") == ["host"]
    world.up(text)
    assert world.up(text.replace('local.Command("guest"', '0 and local.Command("guest"')).summary == {"delete": 1, "same": 2}
    assert world.log("log") == ["host", "guest"]


def test_delete_before_replace_takes_its_dependants_along(world: World) -> None:
    text = (
        HEAD
        + """
a = local.Command("a", create="echo +a >> log; echo $N", delete="echo -a >> log", environment={"N": "1"}, triggers=[config.require("t")],
                  opts=Opts(delete_before_replace=True))
local.Command("b", create="echo +b >> log", delete="echo -b >> log", triggers=[a.stdout])
"""
    )
    world.up(text, config={"t": "1"})
    result = world.up(config={"t": "2"})
    assert result.summary == {"replace": 2, "same": 1}
    assert world.log("log") == ["+a", "+b", "-b", "-a", "+a", "+b"]
    assert not [item for item in world.deployment()["resources"] if item.get("pendingReplacement") or item.get("delete")]


def test_a_protected_resource_survives_up_and_down(world: World) -> None:
    world.up(HEAD + 'local.Command("a", create="true", delete="echo a >> log", opts=Opts(protect=True))')
    assert not world.up(HEAD).ok
    with pytest.raises(EngineError, match="protected"):
        world.down()
    assert world.log("log") == []


def test_the_first_failure_ends_the_run_after_what_is_running(world: World) -> None:
    text = (
        HEAD
        + """
local.Command("slow", create="sleep 1; echo slow >> log")
bad = local.Command("bad", create="exit 1")
late = local.Command("late", create="sleep 0.3", opts=Opts(depends_on=[]))
local.Command("later", create="echo later >> log", opts=Opts(depends_on=[late]))
"""
    )
    assert not world.up(text).ok
    assert world.log("log") == ["slow"]
    assert {"slow", "late"} <= set(world.recorded())


def test_no_more_steps_than_asked_for_run_at_a_time(world: World) -> None:
    text = (
        HEAD
        + """
for i in range(6):
    local.Command(f"c{i}", create="echo + >> log; sleep 0.2; echo - >> log")
"""
    )
    assert world.up(text, parallel=2).ok
    running, most = 0, 0
    for sign in world.log("log"):
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert most == 2


SECRET = "hunter2-very-secret"


def test_secrets_are_sealed_in_the_state_and_hidden_in_everything_told(world: World) -> None:
    text = (
        HEAD
        + """
key = config.require_secret("secretKey")
c = local.Command("c", create="echo my $KEY; exit $CODE", environment={"KEY": key, "CODE": config.get("code") or "0"})
pulumi.export("key", key)
"""
    )
    result = world.up(text, config={"secretKey": SECRET})
    assert result.ok, errors(result)
    assert result.outputs == {"key": "[secret]"}
    failed = world.up(config={"secretKey": SECRET, "code": "1"})
    assert "my [secret]" in errors(failed)
    for told in (repr(result), repr(failed), repr(world.events)):
        assert SECRET not in told
    # What a Command prints is recorded as Pulumi records it: a secret that it echoes stands in stdout.
    environment = world.recorded()["c"]["inputs"]["environment"]["KEY"]
    assert set(environment) == {"4dabf18193072939515e22adb298388d", "ciphertext"}
    manager = SecretsManager("correct horse", world.deployment()["secrets_providers"]["state"]["salt"])
    assert json.loads(manager.decrypt(environment["ciphertext"])) == SECRET


def test_a_secret_that_nobody_prints_stands_nowhere_in_clear(world: World) -> None:
    world.up(
        HEAD + 'local.Command("c", create="true", environment={"KEY": config.require_secret("secretKey")})', config={"secretKey": SECRET}
    )
    assert SECRET not in world.state.read_text()


def test_the_state_is_private_and_leaves_nothing_beside_it(world: World) -> None:
    world.up(ONE)
    assert stat.S_IMODE(world.state.stat().st_mode) == 0o600
    assert sorted(path.name for path in world.state.parent.iterdir()) == ["stack.json", "stack.json.lock"]


def test_another_passphrase_is_refused_before_anything_is_done(world: World) -> None:
    world.up(ONE)
    from engine import down

    with pytest.raises(EngineError, match="incorrect passphrase"):
        down(world.state, world.folder, secrets=SecretsManager("another"))
    assert world.log("log") == ["create"]


def test_two_runs_never_both_work(world: World) -> None:
    with lock_state(world.state), pytest.raises(EngineError, match=rf"another run works on this stack \(process {os.getpid()}\)"):
        world.up(ONE)
    assert world.up(ONE).ok


def test_objects_are_refused_where_the_caller_has_no_embedded_cluster(world: World) -> None:
    text = (
        HEAD
        + """
local.Command("c", create="echo ran >> log")
k8s.core.v1.Namespace("n", opts=Opts(provider=k8s.Provider("p", kubeconfig="none", cluster_identifier="x")))
"""
    )
    with pytest.raises(RefusedError, match="Commands") as caught:
        world.up(text, embedded=False)
    assert caught.value.exit_code == 2
    assert "install the Pulumi CLI" in str(caught.value)
    assert world.log("log") == []


def test_a_helm_release_is_refused_before_anything_is_done(world: World) -> None:
    text = (
        HEAD
        + """
local.Command("c", create="echo ran >> log")
k8s.helm.v3.Release("r", chart="x", opts=Opts(provider=k8s.Provider("p", kubeconfig="none", cluster_identifier="x")))
"""
    )
    with pytest.raises(RefusedError, match=r"helm.sh/v3:Release"):
        world.up(text)
    assert world.log("log") == []


def test_a_renamed_resource_is_kept_under_its_alias(world: World) -> None:
    world.up(HEAD + 'a = local.Command("old", create="echo ran >> log")\nlocal.Command("top", create="true", opts=Opts(depends_on=[a]))')
    text = 'a = local.Command("new", create="echo ran >> log", opts=Opts(aliases=[pulumi.Alias(name="old")]))\n'
    result = world.up(HEAD + text + 'local.Command("top", create="true", opts=Opts(depends_on=[a]))')
    assert (result.ok, result.summary) == (True, {"same": 3})
    assert world.log("log") == ["ran"]
    assert world.recorded()["top"]["dependencies"] == ["urn:pulumi:test::shop::command:local:Command::new"]


def test_a_command_that_takes_too_long_is_ended_with_all_its_children(world: World) -> None:
    text = 'local.Command("c", create="(sleep 5; echo late >> log) & wait", opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="1s")))'
    result = world.up(HEAD + text)
    assert "took longer than 1 s" in errors(result)
    assert result.duration < 4


def test_a_manager_of_another_salt_reads_the_state_with_its_own(world: World) -> None:
    world.up(ONE)
    assert SECRETS.salt == world.deployment()["secrets_providers"]["state"]["salt"]


def test_a_state_that_cannot_be_written_is_told_and_the_old_one_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.up(ONE)
    before = world.state.read_bytes()
    monkeypatch.setattr(os, "fsync", _no_room)
    result = world.up(config={"x": "2"})
    assert "cannot be written: No space left on device" in errors(result)
    assert world.state.read_bytes() == before
    monkeypatch.undo()
    assert world.up(config={"x": "2"}).ok
    assert world.log("log")[-1] == "created,2"


def _no_room(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"version": 3}'])
def test_a_damaged_state_is_refused(world: World, text: str) -> None:
    world.state.parent.mkdir()
    world.state.write_text(text)
    with pytest.raises(EngineError, match="is not a Pulumi deployment"):
        world.up(ONE)


def test_a_failing_listener_ends_no_run(world: World) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("no")

    world.events = type("Broken", (list,), {"append": lambda self, event: fail(event)})()
    assert world.up(ONE).ok


def test_nothing_new_begins_when_the_program_fails(world: World) -> None:
    text = (
        HEAD
        + """
for i in range(4):
    local.Command(f"c{i}", create=f"echo {i} >> log; sleep 0.5")
async def soon():
    import asyncio
    await asyncio.sleep(0.2)
    if pulumi.runtime.is_dry_run():
        return
    raise pulumi.RunError("broken")
pulumi.Output.from_input(soon()).apply(print)
"""
    )
    result = world.up(text, parallel=1)
    assert not result.ok
    assert len(world.log("log")) == 1
    assert "pending_operations" not in world.deployment()
