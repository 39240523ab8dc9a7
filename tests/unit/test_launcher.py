"""`./lab` itself: what it does on a machine where things are missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.stacks import ROOT

TOOLS = ("sh", "dirname", "readlink", "cmp", "cp", "flock", "printf", "cat")


def _launcher(tmp_path: Path) -> Path:
    """The launcher alone in a folder, without its .venv."""
    folder = tmp_path / "project"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "lab", folder / "lab")
    shutil.copy(ROOT / "requirements.txt", folder / "requirements.txt")
    shutil.copy(ROOT / "requirements/uv.txt", folder / "requirements/uv.txt")
    return folder


def _tools(tmp_path: Path) -> Path:
    """A PATH with a shell's tools and no Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    return tools


def _run(folder: Path, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    surroundings = {"PATH": str(path), "HOME": str(folder.parent), **env}
    return subprocess.run(
        [folder / "lab", "--help"], env=surroundings, capture_output=True, text=True, check=False, timeout=60
    )


def test_without_python_it_says_what_to_install(tmp_path: Path) -> None:
    done = _run(_launcher(tmp_path), _tools(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("lab:") == 1
    assert "no Python 3.11 or newer" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr


def test_an_old_python_is_not_taken(tmp_path: Path) -> None:
    tools = _tools(tmp_path)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # what `sys.version_info < (3, 11)` makes of an old one
    (tools / "python3").chmod(0o755)
    assert "no Python 3.11 or newer" in _run(_launcher(tmp_path), tools).stderr


def test_without_the_venv_module_it_says_what_to_install(tmp_path: Path) -> None:
    tools = _tools(tmp_path)
    (tools / "python3").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    (tools / "python3").chmod(0o755)
    done = _run(_launcher(tmp_path), tools)
    assert done.returncode == 1
    assert "has no venv and pip modules" in done.stderr
    assert "sudo apt-get install python3-venv" in done.stderr


def test_an_interrupted_first_run_is_done_again(tmp_path: Path) -> None:
    folder, tools = _launcher(tmp_path), _tools(tmp_path)
    calls = tmp_path / "calls"
    (tools / "python3").write_text(
        f"""#!/bin/sh
echo "$@" >>{calls}
case "$*" in *"-m venv"*)
    mkdir -p {folder}/.venv/bin; cp {tools}/python3 {folder}/.venv/bin/python; cp {tools}/false {folder}/.venv/bin/uv;;
esac
case "$*" in *"import pip"*) exit 1;; esac
exit 0
"""
    )
    (tools / "python3").chmod(0o755)
    for name in ("mkdir", "false"):
        (tools / name).symlink_to(str(shutil.which(name)))
    first = _run(folder, tools)
    assert first.returncode == 1
    assert "packages of requirements.txt could not be installed" in first.stderr
    assert not (folder / ".venv/.installed").exists()
    (folder / ".venv/bin/uv").unlink()
    (folder / ".venv/bin/uv").write_text("#!/bin/sh\nexit 0\n")
    (folder / ".venv/bin/uv").chmod(0o755)
    (tools / "false").unlink()
    (tools / "false").symlink_to(str(shutil.which("true")))
    assert _run(folder, tools).returncode == 0
    assert (folder / ".venv/.installed").read_text() == (ROOT / "requirements.txt").read_text()


def test_locks_name_no_address() -> None:
    for lock in (ROOT / "requirements.txt", *(ROOT / "requirements").iterdir()):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "--index" not in text
