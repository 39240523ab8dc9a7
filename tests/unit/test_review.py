"""`lab review`: which stacks a change touches, and a comment that is right, short enough and cannot be broken by what
it quotes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cli.changes import Touched, changed_since, touched_stacks
from cli.commands import review
from cli.commands.review import LIMIT, MARKER, Section, comment
from stacks.catalog import load
from stacks.errors import Alternative, LabError, PlanError

PROGRAM = ("stacks", "components", "host", "probes", "cli")
FILES = ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "requirements.txt", ".gitignore")
NO_STACK = Touched((), (), program=False)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [shutil.which("git"), *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a state")


@pytest.fixture
def clone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as it lies here, committed on `main` of a repository of its own; its stacks are `one` and `two`."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "lab")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "lab@localhost")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folder = tmp_path / "clone"
    for name in PROGRAM:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(root / name, folder / name)
    (folder / "Pulumi.dev.yaml").rename(folder / "Pulumi.one.yaml")
    shutil.copyfile(folder / "Pulumi.one.yaml", folder / "Pulumi.two.yaml")
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    return folder


@pytest.fixture
def told(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the review in the clone; `refused` says which stacks are refused and how. Without it the plans are real."""

    def _told(*, base: str = "main", refused: dict[str, LabError] | None = None) -> tuple[int, str]:
        def section(root: Path, change: object, stack: str) -> Section:
            if stack in refused:
                return original(root, change, stack)
            return Section(stack, f"### ✅ `{stack}` fits\n", works=True)

        def refuse(root: Path, stack: str, **_: object) -> None:
            raise refused[stack]

        original = review._section
        with monkeypatch.context() as patch:
            if refused is not None:
                patch.setattr(review, "_section", section)
                patch.setattr(review, "load_plan", refuse)
            code = 0
            try:
                review.run(clone, base=base, output=None)
            except SystemExit as stop:
                code = int(stop.code)
        return code, capsys.readouterr().out

    return _told


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# Which stacks a change touches


def test_a_changed_stack_file_touches_that_stack_alone():
    assert touched_stacks(["Pulumi.two.yaml", "README.md"], ["one", "two"]) == Touched(("two",), (), program=False)


@pytest.mark.parametrize(
    "file",
    [
        "stacks/catalog/models.yaml",
        "components/serving/model.py",
        "host/system/state.py",
        "probes/gpu.py",
        "catalog/own.yaml",
        *FILES[:2],
        "requirements.txt",
    ],
)
def test_a_change_of_the_program_touches_every_stack(file):
    assert touched_stacks([file], ["one", "two"]) == Touched(("one", "two"), (), program=True)


@pytest.mark.parametrize(
    "file",
    [
        "docs/stacks/a.md",
        "tests/host/test_a.py",
        "cli/commands/review.py",
        "requirements/test.txt",
        "deep/Pulumi.one.yaml",
        "lab",
    ],
)
def test_documents_tests_and_the_command_line_touch_no_stack(file):
    assert touched_stacks([file], ["one", "two"]) == NO_STACK


def test_a_deleted_stack_file_is_a_removed_stack():
    assert touched_stacks(["Pulumi.old.yaml"], ["one"]) == Touched((), ("old",), program=False)


def test_a_file_whose_name_is_no_stack_name_is_no_removed_stack():
    assert touched_stacks(["Pulumi.`x`<b>.yaml", "Pulumi.a b.yaml"], ["one"]) == NO_STACK


def test_committed_uncommitted_and_new_files_are_the_change(clone):
    git(clone, "checkout", "-q", "-b", "work")
    (clone / "Pulumi.two.yaml").unlink()
    commit(clone)
    edit(clone / "Pulumi.one.yaml", "2048", "1024")
    (clone / "Pulumi.näw.yaml").write_text("new")
    (clone / ".venv").mkdir()
    (clone / ".venv" / "ignored").write_text("")
    assert changed_since(clone, "main").files == ("Pulumi.näw.yaml", "Pulumi.one.yaml", "Pulumi.two.yaml")


def test_what_the_base_did_since_the_fork_is_not_the_change(clone):
    git(clone, "checkout", "-q", "-b", "work")
    edit(clone / "Pulumi.one.yaml", "2048", "1024")
    commit(clone)
    git(clone, "checkout", "-q", "main")
    edit(clone / "Pulumi.two.yaml", "2048", "1024")
    commit(clone)
    git(clone, "checkout", "-q", "work")
    assert changed_since(clone, "main").files == ("Pulumi.one.yaml",)


def test_a_renamed_stack_file_is_one_stack_removed_and_one_touched(clone):
    git(clone, "mv", "Pulumi.two.yaml", "Pulumi.three.yaml")
    assert touched_stacks(changed_since(clone, "main").files, ["one", "three"]) == Touched(
        ("three",), ("two",), program=False
    )


def test_a_project_in_a_folder_of_a_larger_repository_sees_its_own_files_only(clone):
    git(clone.parent, "init", "-q", "-b", "main")
    shutil.rmtree(clone / ".git")
    commit(clone.parent)
    edit(clone / "Pulumi.one.yaml", "2048", "1024")
    (clone.parent / "Pulumi.yaml").write_text("not ours")
    assert changed_since(clone, "HEAD").files == ("Pulumi.one.yaml",)


def test_a_file_name_that_is_no_utf8_breaks_nothing(clone, told):
    Path(os.fsdecode(os.fsencode(clone) + b"/stacks/\xff.py")).write_text("")
    code, text = told(refused={})
    assert (code, text.encode()[:4]) == (0, b"<!--")


# What git cannot tell


def test_an_unknown_base_is_an_error_with_a_remedy(clone):
    with pytest.raises(LabError, match="no revision 'origin/nowhere'") as error:
        changed_since(clone, "origin/nowhere")
    assert "git fetch" in error.value.remedy


@pytest.mark.parametrize("base", ["", "--output=/tmp/written", "main\nHEAD", "-h"])
def test_a_base_cannot_be_an_option_of_git(clone, base):
    with pytest.raises(LabError, match="no revision"):
        changed_since(clone, base)


def test_a_folder_that_is_no_repository_is_an_error_with_a_remedy(clone):
    shutil.rmtree(clone / ".git")
    with pytest.raises(LabError, match="no repository") as error:
        changed_since(clone, "main")
    assert "./lab validate" in error.value.remedy


def test_histories_that_do_not_meet_name_the_shallow_clone(clone):
    git(clone, "checkout", "-q", "--orphan", "other")
    git(clone, "commit", "-q", "-m", "another beginning")
    with pytest.raises(LabError, match="no common history") as error:
        changed_since(clone, "main")
    assert "fetch-depth: 0" in error.value.remedy


def test_no_git_is_an_error_with_a_remedy(clone, monkeypatch):
    monkeypatch.setenv("PATH", str(clone))
    with pytest.raises(LabError, match="no git") as error:
        changed_since(clone, "main")
    assert "install git" in error.value.remedy


def test_an_output_that_cannot_be_written_is_an_error(clone):
    with pytest.raises(LabError, match="cannot be written"):
        review.run(clone, base="main", output=clone / "none" / "comment.md")


# The comment


def test_the_marker_is_the_first_line_of_every_comment():
    fits = Section("one", "### fits\n", works=True)
    for sections, touched in (
        ([], NO_STACK),
        ([fits], Touched(("one",), (), program=True)),
        ([], Touched((), ("old",), program=False)),
    ):
        assert comment(sections, touched, "main").splitlines()[0] == MARKER


def test_the_headline_counts_what_fits_and_what_does_not():
    sections = [Section("one", "1", works=True), Section("two", "2", works=False), Section("three", "3", works=True)]
    assert "\n## ❌ 1 stack does not work, 2 stacks fit, 1 stack removed\n" in comment(
        sections, Touched((), ("old",), program=False), "main"
    )
    assert "\n## ✅ 1 stack fits\n" in comment(sections[:1], NO_STACK, "main")


def test_no_touched_stack_is_said_in_a_few_lines(clone, told):
    (clone / "docs").mkdir()
    (clone / "docs" / "new.md").write_text("new")
    code, text = told()
    assert (code, "No stack is touched" in text, len(text) < 500) == (0, True, True)


def test_a_removed_stack_says_what_to_type(clone, told):
    (clone / "Pulumi.two.yaml").unlink()
    code, text = told()
    assert code == 0
    assert "`pulumi destroy -s two`" in text


def test_a_refused_stack_is_told_with_its_arithmetic_and_the_exit_code_is_two(clone, told):
    (clone / "stacks" / "new.py").write_text("")
    code, text = told(
        refused={
            "two": PlanError(["7 GiB of 6 GiB"], stack="two", alternatives=[Alternative("contextTokens: 128", ())])
        }
    )
    assert code == 2
    for part in (
        "1 stack does not work, 1 stack fits",
        "### ❌ `two`",
        "7 GiB of 6 GiB",
        "contextTokens: 128",
        "### ✅ `one`",
    ):
        assert part in text


def test_a_refusal_shows_no_path_of_the_machine(clone, told):
    (clone / "stacks" / "new.py").write_text("")
    code, text = told(refused={"one": LabError(f"it failed:\n  File {clone}/components/serving/model.py, line 3")})
    assert (code, str(clone) in text, "File components/serving/model.py" in text) == (2, False, True)


def test_only_the_edited_settings_and_resources_are_compared(clone, told):
    edit(clone / "Pulumi.one.yaml", "contextTokens: 2048", "contextTokens: 1024")
    code, text = told()
    assert code == 0
    table = re.findall(r"^\| (\S+\.\S+|\S+) \| (.+) \| (.+) \|$", text.partition("**Where")[0], re.MULTILINE)
    assert ("gemma-3-270m.maxModelLen", "2048", "1024") in table
    assert "gemma-3-270m.image" not in [row[0] for row in table]
    assert "- update `gemma-3-270m`, Deployment: its pods are restarted" in text
    assert "- replace `inference-check-run`, Command: `python -m probes inference_check` runs on the machine" in text
    assert "model-cache-volume`, " not in text


def test_an_edit_that_changes_nothing_says_so(clone, told):
    edit(clone / "Pulumi.one.yaml", "config:", "# a remark\nconfig:")
    code, text = told()
    assert code == 0
    assert "changes nothing in the plan" in text
    assert "nothing changes" in text


def test_a_model_that_goes_is_one_row_and_its_resources_are_deleted(clone, told):
    second = "    - {name: second, model: gemma-3-270m, contextTokens: 2048, port: 30081}\n"
    edit(clone / "Pulumi.one.yaml", "kind: cpu", "memoryGiB: 32\n    kind: cpu")
    before = (clone / "Pulumi.one.yaml").read_text()
    (clone / "Pulumi.one.yaml").write_text(before + second)
    commit(clone)
    (clone / "Pulumi.one.yaml").write_text(before)
    _, text = told()
    assert len(re.findall(r"^\| second\b", text, re.MULTILINE)) == 1
    assert "- delete `second`, Deployment\n" in text
    assert "- delete `second-weights`, Command: the weights stay in the cache" in text


def test_a_new_stack_and_one_that_did_not_work_before_have_nothing_to_compare_with(clone, told):
    good = (clone / "Pulumi.one.yaml").read_text()
    (clone / "Pulumi.two.yaml").write_text("config: {}")
    commit(clone)
    (clone / "Pulumi.two.yaml").write_text(good)
    (clone / "Pulumi.three.yaml").write_text(good)
    code, text = told()
    assert code == 0
    assert "A new stack." in text
    assert "did not work before" in text


def test_a_stack_with_a_model_of_its_own_is_compared_with_what_it_was(clone, told):
    (clone / "catalog").mkdir()
    (clone / "catalog" / "another.yaml").write_text(load().model("gemma-3-270m").model_dump_json(by_alias=True))
    edit(clone / "Pulumi.one.yaml", "model: gemma-3-270m", "model: another")
    commit(clone)
    edit(clone / "Pulumi.one.yaml", "contextTokens: 2048", "contextTokens: 1024")
    code, text = told()
    assert code == 0
    assert "- update `gemma-3-270m`, Deployment: its pods are restarted" in text


def test_another_cluster_says_what_to_type_before_and_after_the_merge(clone, told, root):
    shutil.copyfile(root / "Pulumi.rtx2060.yaml", clone / "Pulumi.one.yaml")
    code, text = told()
    assert code == 0
    assert "| cluster | embedded | minikube |" in text
    assert "type `./lab down one` before the merge, and `./lab up one` after it" in text


def test_a_secret_of_the_stack_file_is_never_shown(clone, told):
    edit(clone / "Pulumi.one.yaml", "kind: envoy", "kind: none")
    commit(clone)
    edit(clone / "Pulumi.one.yaml", "config:", "config:\n  local-ai-lab:apiKey: {secure: v1:cGxhaW50ZXh0}")
    code, text = told()
    assert code == 0
    assert "cGxhaW50ZXh0" not in text
    assert "| endpoint.auth | none | bearer key |" in text


# Its length


def folded(size: int) -> str:
    folds = (f"<details>\n<summary>{name}</summary>\n\n{'x' * size}\n\n</details>\n" for name in ("first", "second"))
    return "\n".join(("### fits\n\nkept\n", *folds))


def test_folded_parts_go_first_and_from_the_end():
    sections = [Section(name, folded(300), works=True) for name in ("one", "two")]
    whole = comment(sections, NO_STACK, "main")
    text = comment(sections, NO_STACK, "main", limit=len(whole) - 1)
    assert [text.count(f"<summary>{name}") for name in ("first", "second")] == [2, 1]
    assert "1 folded part" in text
    assert text.count("kept") == 2


def test_a_refusal_is_never_cut_inside_its_fence():
    sections = [
        Section("one", f"### no\n\n```\n\n<details>\n{'x' * 900}\n```\n", works=False),
        Section("two", "### yes\n", works=True),
    ]
    text = comment(sections, NO_STACK, "main", limit=700)
    assert (len(text) <= 700, text.count("```"), "all but the title of 1 stack" in text) == (True, 0, True)


@pytest.mark.parametrize("count", [1, 40, 2000])
def test_no_comment_is_longer_than_github_takes(count):
    sections = [Section(f"s{n}", folded(33_000 if count < 100 else 300), works=n % 2 == 0) for n in range(count)]
    text = comment(sections, NO_STACK, "main")
    assert len(text) <= LIMIT < 65_536
    assert text.count("<details>") == text.count("</details>")
    assert text.endswith("</sub>\n")


# Hostile text


def test_a_refusal_cannot_close_the_fence_that_quotes_it(clone, told):
    (clone / "Pulumi.one.yaml").write_text('config:\n  "x\\n```\\n## ✅ 9 stacks fit\\n````\\n@team <img src=a>": 1\n')
    code, text = told()
    assert code == 2
    fence = re.search(r"^(`{3,})$", text, re.MULTILINE)[1]
    inside = text.split(f"\n{fence}\n")[1]
    assert len(fence) > max(len(run) for run in re.findall("`+", inside))
    assert "9 stacks fit" in inside
    assert "@team" in inside
    assert "9 stacks fit" not in text.replace(inside, "")


def test_a_setting_cannot_become_markup(clone, told):
    edit(
        clone / "Pulumi.one.yaml",
        "concurrentRequests: 4",
        'concurrentRequests: 4\n      environment: {NOTE: "a | b\\n</details> <!-- @team [x](y) `z` ~~"}',
    )
    code, text = told()
    row = next(line for line in text.splitlines() if ".environment.NOTE" in line)
    assert code == 0
    assert row.count("|") == 4
    assert not set("<>`@[]~*") & set(row)


def test_control_characters_and_turned_text_do_not_reach_the_reader():
    text = comment([Section("one", "a\x1b[31m\rb\u202ec\udcffd\n", works=True)], NO_STACK, "`main`\n## x")
    assert "a\ufffd[31m\ufffdb\ufffdc\ufffdd" in text
    assert "\n## x" not in text
    assert text.encode()


# The command, and the workflow around it


@pytest.mark.long
def test_the_command_writes_the_comment_and_then_exits_with_two(clone):
    edit(clone / "Pulumi.one.yaml", "kind: cpu", "memoryGiB: 4\n    kind: cpu")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "review", "--base", "main", "--output", "comment.md"],
        cwd=clone, env={**os.environ, "PYTHONPATH": str(clone)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    text = (clone / "comment.md").read_text()
    assert text.startswith(MARKER)
    assert "1 stack does not work" in text
    assert "Traceback" not in done.stderr


def workflow(root: Path) -> dict[str, dict]:
    return yaml.safe_load((root / ".github" / "workflows" / "pull-request.yml").read_text())["jobs"]


def test_the_job_that_may_write_runs_none_of_the_changes_code(root):
    jobs = workflow(root)
    assert [name for name, job in jobs.items() if "write" in job["permissions"].values()] == ["comment"]
    used = [step.get("uses", "").partition("@")[0] for step in jobs["comment"]["steps"]]
    assert used == ["actions/download-artifact", ""]
    assert "head.repo.full_name == github.repository" in jobs["comment"]["if"]


FAKE_PULUMI = """#!/bin/sh
test -n "$PULUMI_CONFIG_PASSPHRASE" || exit 9
echo "$*" >>"$RUNNER_TEMP/calls"
case $* in "stack init "*) echo "encryptionsalt: v1:x" >>"Pulumi.$3.yaml" ;; *"-s broken "*) exit 255 ;; esac
"""


def test_the_job_of_the_resources_previews_every_stack_in_a_copy_and_fails_where_one_fails(root, tmp_path):
    job = workflow(root)["resources"]
    assert job["permissions"] == {"contents": "read"}
    assert "secrets." not in str(job)
    (pulumi,) = [step for step in job["steps"] if step.get("uses", "").startswith("pulumi/actions@")]
    pinned = re.search(r'"pulumi==([0-9.]+)"', (root / "pyproject.toml").read_text())[1]
    assert pulumi["with"] == {"pulumi-version": pinned}
    project = tmp_path / "project"
    project.mkdir()
    files = {
        "one": "config: {}\n",
        "broken": "config: {}\n",
        "two": "config: {}\n",
        "sealed": "encryptionsalt: v1:y\nconfig: {}\n",
    }
    for name, text in files.items():
        (project / f"Pulumi.{name}.yaml").write_text(text)
    (tmp_path / "pulumi").write_text(FAKE_PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "PULUMI_BACKEND_URL": "file:///nowhere",
    }
    shell = [shutil.which("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c", job["steps"][-1]["run"]]
    done = subprocess.run(shell, cwd=project, env=environment, check=False, timeout=20, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "::notice::sealed holds secrets" in done.stdout
    previewed = [f"{verb} {name}" for name in ("broken", "one", "two") for verb in ("stack init", "preview -s")]
    assert [" ".join(call.split()[:3]) for call in (tmp_path / "calls").read_text().splitlines()] == previewed
    assert {p.name: p.read_text() for p in project.iterdir()} == {
        f"Pulumi.{name}.yaml": text for name, text in files.items()
    }
    (project / "Pulumi.broken.yaml").unlink()
    for folder in ("copy", "backend"):
        shutil.rmtree(tmp_path / folder)
    assert (
        subprocess.run(shell, cwd=project, env=environment, check=False, timeout=20, capture_output=True).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("existing", "verb"), [("", "--method POST"), ("17\n18\n", "--method PATCH repos/o/lab/issues/comments/17 ")]
)
@pytest.mark.parametrize("body", [f"{MARKER}\n## a verdict\n", None, "no comment of ours\n"])
def test_the_workflow_writes_one_comment_and_updates_it(root, tmp_path, existing, verb, body):
    script = workflow(root)["comment"]["steps"][-1]["run"]
    (tmp_path / "gh").write_text(
        '#!/bin/sh\ncase $* in *--paginate*) printf "$EXISTING" ;; *) echo "$*" >>"$RUNNER_TEMP/calls" ;; esac\n'
    )
    (tmp_path / "gh").chmod(0o755)
    if body:
        (tmp_path / "plan").mkdir()
        (tmp_path / "plan" / "comment.md").write_text(body)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "EXISTING": existing,
        "GITHUB_REPOSITORY": "o/lab",
    }
    environment |= {"PULL_REQUEST": "5", "COMMIT": "abc", "RUN": "run"}
    subprocess.run(
        [shutil.which("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env=environment,
        check=True,
        timeout=20,
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert verb in calls[0]
    text = (tmp_path / "plan" / "comment.md").read_text()
    assert text.splitlines()[0] == MARKER
    assert ("a verdict" in text) == ("The review failed" not in text) == bool(body and MARKER in body)
    assert "Commit abc" in text


@pytest.mark.long
def test_the_samples_in_the_docs_are_what_their_recipe_makes(root: Path, tmp_path: Path) -> None:
    project, made = tmp_path / "project", tmp_path / "made"
    made.mkdir()

    def left_out(_folder: str, names: list[str]) -> set[str]:
        return {n for n in names if (n.startswith(".") and n != ".gitignore") or n in ("__pycache__", "tests")}

    shutil.copytree(root, project, ignore=left_out)
    for line in ("init -q -b main", "add -A", "-c user.name=lab -c user.email=lab@localhost commit -q -m all"):
        git(project, *line.split())
    recipe = re.search(r"```sh\n(samples=.*?)```", (root / "docs/pull-requests.md").read_text(), re.DOTALL).group(1)
    script = recipe.replace("$PWD/docs/samples", str(made)).replace("$PWD/.venv", str(root / ".venv"))
    subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=project,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    samples = {p.name: p.read_text() for p in (root / "docs/samples").glob("*.md")}
    assert {p.name: p.read_text() for p in made.iterdir()} == samples, (
        "make them again: docs/pull-requests.md, at its end"
    )
