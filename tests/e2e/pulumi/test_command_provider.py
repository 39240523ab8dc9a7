"""`command:local:Command` through a real engine: what a Command does, and what it lets people see."""

import json

import pytest

from tests.e2e.pulumi.project import Project

pytestmark = pytest.mark.e2e


def test_a_command_is_created_updated_and_deleted(project: Project) -> None:
    gone = project.folder / "gone"
    command = {
        "create": "echo made $WHO; echo aside >&2",
        "update": 'echo "$WHO after $PULUMI_COMMAND_STDOUT, $PULUMI_COMMAND_STDERR"',
        "delete": f'echo "$WHO: $PULUMI_COMMAND_STDOUT" > {gone}',
        "environment": {"WHO": "one"},
    }
    made = project.up({"a": command})
    assert made.operations() == {"a": ["create"]}
    assert sorted(made.live("a")) == ["aside", "made one"]
    assert project.outputs("a") == {**command, "stdout": "made one", "stderr": "aside"}

    assert project.up({"a": command}).operations() == {"a": ["same"]}

    changed = project.up({"a": {**command, "environment": {"WHO": "two"}}})
    assert changed.operations() == {"a": ["update"]}
    assert project.outputs("a")["stdout"] == "two after made one, aside"
    assert project.outputs("a")["stderr"] == ""

    assert project.run("refresh").operations() == {"a": ["refresh"]}
    assert project.outputs("a")["stdout"] == "two after made one, aside"
    assert project.up({}).operations() == {"a": ["delete"]}
    assert gone.read_text() == "two: two after made one, aside\n"
    assert project.state() == {}


def test_without_an_update_script_create_runs_again_and_without_any_nothing_runs(project: Project) -> None:
    project.up({"a": {"create": "echo $N", "environment": {"N": "1"}}, "none": {"delete": "true"}})
    assert project.outputs("none") == {"delete": "true", "stdout": "", "stderr": ""}
    project.up(
        {"a": {"create": "echo $N", "environment": {"N": "2"}}, "none": {"delete": "true", "environment": {"N": "2"}}}
    )
    assert project.outputs("a")["stdout"] == "2"
    assert project.outputs("none")["stdout"] == ""


def test_interpreter_folder_input_and_the_end_of_lines(project: Project) -> None:
    folder = project.folder / "elsewhere"
    folder.mkdir()
    program = "import os, sys; print(os.getcwd(), sys.stdin.read(), sys.argv[1]); sys.stdout.write('x\\n\\n\\n')"
    project.up(
        {
            "a": {"create": "word", "interpreter": ["python3", "-c", program], "dir": str(folder), "stdin": "given"},
            "here": {"create": "pwd; cat"},
        }
    )
    assert project.outputs("a")["stdout"] == f"{folder} given word\nx\n\n"  # one newline goes
    assert project.outputs("here")["stdout"] == str(project.folder)


def test_more_input_than_a_script_reads_is_no_failure(project: Project) -> None:
    project.up({"a": {"create": "head -c 3", "stdin": "abc" * 100_000}})
    assert project.outputs("a")["stdout"] == "abc"


def test_previous_output_can_be_kept_out_of_the_environment(project: Project) -> None:
    script = 'echo "[$PULUMI_COMMAND_STDOUT]"'
    project.up({"a": {"create": script, "environment": {"N": "1"}, "add_previous_output_in_env": False}})
    project.up({"a": {"create": script, "environment": {"N": "2"}, "add_previous_output_in_env": False}})
    assert project.outputs("a")["stdout"] == "[]"
    project.up({"a": {"create": script, "environment": {"N": "3"}}})
    assert project.outputs("a")["stdout"] == "[[]]"


def test_triggers_replace_and_the_old_one_goes_last(project: Project) -> None:
    log = project.folder / "log"
    command = {"create": f"echo create $N >> {log}", "update": "false", "delete": f"echo delete $N >> {log}"}
    project.up({"a": {**command, "environment": {"N": "1"}, "triggers": ["x", 1]}})
    old = project.state()["a"]["id"]
    replaced = project.up({"a": {**command, "environment": {"N": "2"}, "triggers": ["y", 1]}})
    assert replaced.operations() == {"a": ["create-replacement", "replace", "delete-replaced"]}
    assert log.read_text().splitlines() == ["create 1", "create 2", "delete 1"]
    assert project.state()["a"]["id"] != old


def test_a_failure_shows_the_script_its_exit_code_and_what_it_said(project: Project) -> None:
    failed = project.up({"a": {"create": "echo out; echo err >&2; exit 3"}}, fails=True)
    assert 'exit status 3: running "echo out; echo err >&2; exit 3":' in failed.error("a")
    assert {"out", "err"} <= set(failed.error("a").splitlines())
    assert project.state() == {}

    project.up({"a": {"create": "echo first"}})
    project.up({"a": {"create": "echo second; false"}}, fails=True)
    assert project.state()["a"]["inputs"] == {"create": "echo first"}
    assert project.outputs("a")["stdout"] == "first"
    project.up({"a": {"create": "echo third"}})
    assert project.outputs("a")["stdout"] == "third"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dir": "/nowhere"}, "/nowhere: no such file"),
        ({"interpreter": ["/no/such/shell"]}, "/no/such/shell: no such file"),
    ],
)
def test_what_cannot_be_started_is_named(project: Project, wrong: dict, said: str) -> None:
    assert said in project.up({"a": {"create": "true", **wrong}}, fails=True).error("a")


@pytest.mark.parametrize(
    ("logging", "shown"),
    [
        (None, ["err", "out"]),
        ("stdoutAndStderr", ["err", "out"]),
        ("stdout", ["out"]),
        ("stderr", ["err"]),
        ("none", []),
    ],
)
def test_logging_says_what_is_shown_and_not_what_is_kept(
    project: Project, logging: str | None, shown: list[str]
) -> None:
    made = project.up({"a": {"create": "echo out; echo err >&2", **({"logging": logging} if logging else {})}})
    assert sorted(made.live("a")) == shown
    assert (project.outputs("a")["stdout"], project.outputs("a")["stderr"]) == ("out", "err")


def test_what_a_script_says_is_shown_while_it_runs(project: Project) -> None:
    project.write({"a": {"create": f"echo ready; while [ ! -e {project.folder}/go ]; do sleep 0.1; done"}})
    process = project.start("up")
    assert process.stdout
    for line in process.stdout:
        if "ready" in line and "diagnosticEvent" in line:
            break
    else:
        pytest.fail("the line came only at the end, or never")
    (project.folder / "go").touch()
    assert project.ended(process).code == 0


def test_a_line_of_any_length_can_be_said(project: Project, stand_in: None) -> None:
    """The released plugin waits for ever after 64 KiB without a newline."""
    made = project.up({"a": {"create": "printf '%200000s\\n' end; echo more"}})
    assert [len(line) for line in made.live("a")] == [200_000, 4]
    assert len(project.outputs("a")["stdout"]) == 200_005


def test_a_script_may_leave_a_program_running(project: Project) -> None:
    try:
        project.up({"a": {"create": "sleep 600 >/dev/null 2>&1 </dev/null & echo left"}})
        assert project.outputs("a")["stdout"] == "left"
        assert project.only("sleep 600")
    finally:
        project.end()


SECRET, KEY = "correct horse", "first line of a key\nsecond line of a key"


def test_secrets_are_encrypted_in_the_state_and_masked_where_people_see_them(project: Project, stand_in: None) -> None:
    environment = {"A": {"secret": SECRET}, "KEY": {"secret": KEY}, "SHORT": {"secret": "ab"}, "PLAIN": "seen"}
    script = 'echo "<$A> $PLAIN $SHORT"; echo "$KEY" >&2; echo "${A}x"; exit $CODE'
    made = project.up({"a": {"create": script, "environment": {**environment, "CODE": "0"}}})
    assert sorted(made.live("a")) == ["<[secret]> seen ab", "[secret]", "[secret]", "[secret]x"]

    document = project.call("stack", "export")
    assert "ciphertext" in project.outputs("a")["stdout"] and "ciphertext" in project.outputs("a")["stderr"]
    shown = json.loads(project.call("stack", "export", "--show-secrets"))["deployment"]["resources"]
    (plain,) = [r["outputs"]["stdout"]["plaintext"] for r in shown if r["type"] == "command:local:Command"]
    assert json.loads(plain) == f"<{SECRET}> seen ab\n{SECRET}x"

    failed = project.up({"a": {"create": script, "environment": {**environment, "CODE": "7"}}}, fails=True)
    assert "exit status 7" in failed.error("a") and "<[secret]> seen ab" in failed.error("a")
    for text in (made.text, failed.text, document):
        for hidden in (SECRET, *KEY.splitlines()):
            assert hidden not in text


def test_a_secret_script_an_old_secret_and_secret_input_are_masked_too(project: Project, stand_in: None) -> None:
    project.up({"a": {"create": "echo $T", "environment": {"T": {"secret": "old-token"}}}})
    changed = project.up(
        {"a": {"create": "echo $PULUMI_COMMAND_STDOUT $T", "environment": {"T": {"secret": "new-token"}}}}
    )
    assert changed.live("a") == ["[secret] [secret]"]
    commands = {
        "b": {"create": {"secret": 'exit 5 # "quoted" words'}},
        "c": {"create": "cat; false", "stdin": {"secret": "typed word"}},
    }
    failed = project.up(commands, fails=True)
    assert 'exit status 5: running "[secret]":' in failed.error("b")
    texts = changed.text + failed.text
    assert not [s for s in ("old-token", "new-token", "quoted", "typed word") if s in texts]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"create": 5}, "it must be a string"),
        ({"environment": {"A": 3}}, "it must be a map of strings"),
        ({"interpreter": ["sh", True]}, "it must be a list of strings"),
        ({"triggers": "x"}, "it must be a list"),
        ({"logging": "loud"}, "it must be one of stdout, stderr, stdoutAndStderr, none"),
        ({"asset_paths": ["*"]}, "does not know it"),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(
    project: Project, stand_in: None, wrong: dict, said: str
) -> None:
    project.write({"a": {"create": "true", **wrong}})
    preview = project.run("preview", fails=True)
    assert said in preview.error("a")


def test_what_only_the_released_plugin_has_is_refused_by_name(project: Project, stand_in: None) -> None:
    (project.folder / "__main__.py").write_text(
        "from pulumi_command import local\nlocal.run_output(command='touch ran').apply(print)\n"
    )
    assert (
        "stand-in for Pulumi's command plugin knows command:local:Command alone"
        in project.run("preview", fails=True).text
    )
    (project.folder / "__main__.py").write_text(
        "from pulumi_command import remote\n"
        "remote.Command('r', create='x', connection=remote.ConnectionArgs(host='h'))\n"
    )
    assert "command:remote:Command: the lab's stand-in" in project.run("preview", fails=True).text
    assert not (project.folder / "ran").exists()


def test_many_commands_run_at_once(project: Project) -> None:
    """Each waits until all have begun, so that one after the other would never end."""
    count = 8
    begun = project.folder / "all"
    begun.mkdir()
    script = f'touch {begun}/$N; while [ "$(ls {begun} | wc -l)" -lt {count} ]; do sleep 0.1; done; echo $N'
    run = project.up(
        {f"c{n}": {"create": script, "environment": {"N": str(n)}, "timeout": "60s"} for n in range(count)}
    )
    assert sorted(run.operations()) == [f"c{n}" for n in range(count)]
