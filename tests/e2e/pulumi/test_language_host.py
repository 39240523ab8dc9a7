"""The stand-in for Pulumi's Python language host, through a real engine."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.pulumi.project import Project, wait_for

pytestmark = pytest.mark.e2e

_BEGIN = """
    import pathlib, subprocess, time
    subprocess.Popen(["sleep", "500"])
    pathlib.Path("begun").touch()
    time.sleep(500)
"""


def _leftovers(project: Project) -> list[str]:
    """What the language host has left in the temporary folder."""
    return [p.name for p in Path(project.environment["TMPDIR"]).iterdir() if "language" in p.name]


def test_a_program_gets_its_stack_its_configuration_and_its_environment(project: Project) -> None:
    project.call("config", "set", "plain", "value", "--stack", "dev")
    project.call("config", "set", "hidden", "a secret", "--secret", "--stack", "dev")
    project.program("""
        import os, sys
        import pulumi
        config = pulumi.Config()
        pulumi.export("names", [pulumi.get_project(), pulumi.get_stack(), pulumi.get_organization()])
        pulumi.export("folders", [pulumi.get_root_directory(), os.getcwd(), os.environ["VIRTUAL_ENV"], sys.prefix])
        pulumi.export("plain", config.require("plain"))
        pulumi.export("hidden", config.require_secret("hidden"))
        pulumi.export("path", os.environ["PATH"])
        pulumi.export("dry", pulumi.runtime.is_dry_run())
        print("printed words")
    """)
    assert "printed words" in project.run("preview").messages()
    project.run("up")
    found = json.loads(project.call("stack", "output", "--json", "--stack", "dev"))
    folder, virtual = str(project.folder), str(project.virtual)
    assert found["names"] == ["sample", "dev", "organization"]
    assert found["folders"] == [folder, folder, virtual, virtual]
    assert found["plain"] == "value"
    assert found["path"].split(os.pathsep)[0] == f"{virtual}/bin"
    assert (found["hidden"], found["dry"]) == ("[secret]", False)
    assert _leftovers(project) == []


def test_no_folder_that_others_can_write_to_is_imported_from(project: Project) -> None:
    for folder in (Path(project.environment["TMPDIR"]), project.folder):
        (folder / "argparse.py").write_text("raise SystemExit('planted')")
    project.program("""
        import os, stat, sys
        import pulumi
        pulumi.export("open", [p for p in sys.path if os.path.isdir(p) and os.stat(p).st_mode & stat.S_IWOTH])
    """)
    (project.folder / "argparse.py").unlink()
    project.run("up")
    assert json.loads(project.call("stack", "output", "--json", "--stack", "dev")) == {"open": []}


def test_the_virtual_environment_is_found_from_the_project(project: Project) -> None:
    (project.folder / ".venv").symlink_to(project.virtual)
    project.settings(virtualenv=".venv")
    below = project.folder / "below"
    below.mkdir()
    project.up({"a": {"create": "true"}})
    assert json.loads(project.call("about", "--json", cwd=below))["runtime"]["executable"] == str(
        project.folder / ".venv/bin/python"
    )

    project.settings(virtualenv=".nowhere")
    failed = project.run("preview", fails=True)
    assert "the virtual environment of Pulumi.yaml is not there" in failed.text and ".nowhere/bin/python" in failed.text


def test_about_says_which_python_runs(project: Project) -> None:
    about = json.loads(project.call("about", "--json"))
    assert about["runtime"]["language"] == "python"
    assert about["runtime"]["version"].split(".")[0] == "3"
    assert {p["name"]: p["version"] for p in about["plugins"]}["python"] == about["cliAbout"]["version"].removeprefix(
        "v"
    )


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import pulumi\nraise pulumi.RunError('one line for people')", "one line for people"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "the program ended with exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the program ended with signal: killed"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
    ],
)
def test_a_failing_program_is_a_failing_run_and_says_why_once(project: Project, program: str, said: str) -> None:
    project.program(program)
    failed = project.run("preview", fails=True)
    assert len([m for m in failed.messages() if said in m]) == 1


def test_a_project_without_a_program_is_told_so(project: Project) -> None:
    (project.folder / "__main__.py").unlink()
    assert "unable to find main python program" in project.run("preview", fails=True).text


def test_ctrl_c_ends_the_program_with_what_it_has_started(project: Project) -> None:
    project.program(_BEGIN)
    process = project.start("up")
    wait_for(project.folder / "begun")
    process.send_signal(signal.SIGINT)
    stopped = project.ended(process)
    assert stopped.code != 0
    assert not [m for m in stopped.messages() if "Traceback" in m]
    assert project.only()
    assert _leftovers(project) == []


def test_a_killed_cli_takes_the_program_along(project: Project) -> None:
    project.program(_BEGIN)
    process = project.start("preview")
    wait_for(project.folder / "begun")
    os.kill(process.pid, signal.SIGKILL)
    project.ended(process)
    assert project.only()
    assert _leftovers(project) == []


def test_a_program_that_ignores_the_signal_is_killed(project: Project) -> None:
    project.program("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _BEGIN.replace("\n    ", "\n"))
    process = project.start("up")
    wait_for(project.folder / "begun")
    process.send_signal(signal.SIGINT)
    assert project.ended(process).code != 0
    assert project.only()


def test_what_is_not_there_is_said_by_name(project: Project) -> None:
    done = project.tried("install")
    assert done.returncode != 0
    assert "InstallDependencies" in done.stdout + done.stderr
