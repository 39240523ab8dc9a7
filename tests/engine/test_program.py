"""The program runs as under the CLI, and nothing of it stays behind in the process."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pulumi
import pytest

from tests.engine.conftest import Run, by_name, messages


def test_a_run_error_is_a_message_without_a_traceback(run: Run) -> None:
    result = run("import pulumi\nraise pulumi.RunError('the model does not fit')")
    assert not result.ok
    assert messages(result) == "the model does not fit"
    assert result.to_json()["diagnostics"] == [{"message": "error: the model does not fit\n", "severity": "error"}]


def test_any_other_error_shows_the_programs_own_frames_only(run: Run) -> None:
    result = run("import helper\nhelper.start()", files={"helper.py": "def start():\n    raise ValueError('boom')\n"})
    text = messages(result)
    assert not result.ok
    assert "ValueError: boom" in text
    assert "__main__.py" in text
    assert "helper.py" in text
    assert "runpy" not in text
    assert "pulumi/runtime" not in text


def test_an_error_inside_an_apply_fails_the_preview(run: Run) -> None:
    result = run("import pulumi\npulumi.export('x', pulumi.Output.from_input(1).apply(lambda n: n / 0))")
    assert not result.ok
    assert "ZeroDivisionError" in messages(result)


@pytest.mark.parametrize(("code", "ok"), [("0", True), ("", True), ("3", False)])
def test_an_exit_code_counts(run: Run, code: str, ok: bool) -> None:
    assert run(f"import pulumi, sys\nsys.exit({code})").ok is ok


def test_a_syntax_error_is_told(run: Run) -> None:
    result = run("import pulumi\ndef (:")
    assert not result.ok
    assert "SyntaxError" in messages(result)


def test_configuration_reaches_the_program(run: Run) -> None:
    result = run(
        """
        import pulumi
        config = pulumi.Config()
        pulumi.export("all", [config.require("name"), config.require_int("n"), config.require_bool("on"), config.require_object("o")["k"]])
        pulumi.export("where", [pulumi.get_project(), pulumi.get_stack(), pulumi.runtime.is_dry_run()])
        """,
        config={"shop:name": "x", "shop:n": "3", "shop:on": "true", "shop:o": '{"k": [1]}'},
    )
    assert result.outputs == {"all": ["x", 3, True, [1]], "where": ["shop", "test", True]}


def test_messages_and_prints_become_diagnostics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    result = run("import pulumi\nprint('printed')\npulumi.log.info('told')\npulumi.log.warn('warned')\npulumi.log.debug('quiet')")
    assert {(item.severity, item.message) for item in result.diagnostics} == {("info", "printed"), ("info", "told"), ("warning", "warned")}
    assert result.ok
    assert capsys.readouterr() == ("", "")


def test_a_required_version_is_not_checked_for_there_is_no_cli(run: Run) -> None:
    assert run("import pulumi\npulumi.require_pulumi_version('>=99.0.0')").ok


def test_two_previews_in_a_row_know_nothing_of_each_other(run: Run) -> None:
    text = "import helper, pulumi\npulumi.export('v', [helper.VALUE, pulumi.Config().get('only')])"
    first = run(text, files={"helper.py": "VALUE = 'first'"}, config={"shop:only": "here"})
    second = run(text, files={"helper.py": "VALUE = 'the second'"})
    assert first.outputs == {"v": ["first", "here"]}
    assert second.outputs == {"v": ["the second", None]}


@pytest.mark.parametrize("ending", ["", "raise RuntimeError('no')"])
def test_the_process_is_left_as_it_was(run: Run, ending: str) -> None:
    def look() -> tuple[object, ...]:
        return (
            Path.cwd(),
            list(sys.path),
            list(sys.argv),
            sys.modules["__main__"],
            sys.stdout,
            pulumi.get_stack(),
            pulumi.runtime.get_root_resource(),
        )

    before = look()
    run(
        f"import helper, os, sys, pulumi\nos.chdir('/')\nsys.path.append('/nowhere')\n{ending}",
        files={"helper.py": ""},
        config={"shop:a": "b"},
    )
    assert look() == before
    assert "helper" not in sys.modules
    assert pulumi.Config("shop").get("a") is None
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_failed_program_says_nothing_on_the_terminal(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("""
        import pulumi
        from pulumi_command import local
        for n in range(20):
            local.Command(f"c{n}", create=pulumi.Output.from_input(n).apply(lambda n: str(1 // 0)))
        raise RuntimeError("no")
        """)
    assert capfd.readouterr() == ("", "")


def test_registrations_from_many_threads_are_all_planned(run: Run) -> None:
    result = run("""
        import pulumi
        from pulumi_command import local
        for n in range(200):
            local.Command(f"c{n}", create="true", environment={"N": str(n)})
        """)
    steps = by_name(result)
    assert result.change_summary == {"create": 201}
    assert all(steps[f"c{n}"].inputs["environment"] == {"N": str(n)} for n in range(200))


def test_importing_the_engine_does_not_import_a_provider_sdk(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, engine; assert not {'pulumi_kubernetes', 'pulumi_command'} & set(sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
