"""The image build: phases in order, resumed where a kill stopped them, refused before the disk is full, and careful with others' files."""

from __future__ import annotations

import errno
import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from host.images import build, disk, ensure_image, oci, recipe, recipe_reference, rootfs
from host.images.phases import Work
from stacks.errors import HostError
from tests.support.expected_commands import Call, expect

_Usage = namedtuple("_Usage", "total used free")


class Killed(BaseException):
    """As good as kill -9: nothing that the program wrote for failures runs to its end."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(rootfs, "tools", lambda cache: rootfs.Tools(cache / "mmdebstrap", cache / "keys.gpg"))
    monkeypatch.setattr(rootfs, "missing_programs", lambda _path: [])
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 100 * 2**30))
    monkeypatch.setattr("host.images.phases.shutil.which", lambda name: f"/usr/bin/{name}")
    return Work(build.cache_folder() / "images" / f"{recipe.load().short}.build")


def _make_root(words: list[str], _named: dict[str, Any]) -> None:
    root = Path(words[-1])
    (root / "etc").mkdir(parents=True)
    (root / "opt/vllm").mkdir(parents=True)


def _packages(drift: dict[str, str] | None = None) -> str:
    return "".join(f"{name}={version}\n" for name, version in {**recipe.load().debian, **(drift or {})}.items())


def _write_tar(words: list[str], _named: dict[str, Any]) -> None:
    Path(words[words.index("-cf") + 1]).write_bytes(f"layer {words[-1]}".encode())


def _remove(words: list[str], _named: dict[str, Any]) -> None:
    import shutil

    shutil.rmtree(words[-1])


def _kill(_words: list[str], _named: dict[str, Any]) -> None:
    raise Killed


def _script(text: str) -> Any:
    def check(words: list[str], named: dict[str, Any]) -> None:
        assert words[-2:] == ["sh", "-s"]
        assert text in named["text"]

    return check


CONTAINED = ["setpriv", "--pdeathsig", "flock", "unshare", "--kill-child"]
MAKE = Call([*CONTAINED, "mmdebstrap", "--variant=essential", "bookworm"], _make_root, root=True)
LIST = Call(["dpkg-query"], output=_packages())
CLEAN = Call([*CONTAINED, "--net"], _script("/etc/machine-id"), root=True)
BASE = [MAKE, LIST, CLEAN]
INSTALL = Call(CONTAINED, _script("--require-hashes"), root=True)
FINISH = Call([*CONTAINED, "--net"], _script("compileall"), root=True)
LAYERS = [
    Call(["tar", "--sort=name", "--mtime=@0", "--exclude=./opt/vllm/*", "."], _write_tar, root=True),
    Call(["tar", "./opt/vllm"], _write_tar, root=True),
]
CLEAR = Call(["flock", "rm", "-rf"], _remove, root=True)


def test_a_first_build_runs_every_phase_and_leaves_only_the_layout(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = expect(monkeypatch, *BASE, INSTALL, FINISH, *LAYERS, CLEAR)
    layout = ensure_image(recipe_reference())
    calls.done()
    assert layout == build.cache_folder() / "images" / recipe.load().short / "layout"
    assert oci.is_whole(layout) and not work.folder.exists()
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == recipe_reference()
    manifest = json.loads((layout / "blobs" / entry["digest"].replace(":", "/")).read_text())
    config = json.loads((layout / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_text())
    assert config["config"]["User"] == "2000:2000" and len(config["rootfs"]["diff_ids"]) == 2


def test_a_second_call_runs_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, *BASE, INSTALL, FINISH, *LAYERS, CLEAR)
    first = ensure_image(recipe_reference())
    expect(monkeypatch)
    assert ensure_image(recipe_reference()) == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([Call(MAKE.words, _make_root, root=True)], [CLEAR, MAKE, LIST, CLEAN, INSTALL, FINISH, *LAYERS, CLEAR]),
        (BASE, [INSTALL, FINISH, *LAYERS, CLEAR]),
        ([*BASE, INSTALL], [FINISH, *LAYERS, CLEAR]),
        ([*BASE, INSTALL, FINISH, LAYERS[0]], [*LAYERS, CLEAR]),
    ],
    ids=["in the base", "in the packages", "in the finish", "in the layers"],
)
def test_a_killed_build_goes_on_with_the_phase_that_had_not_ended(
    work: Work, monkeypatch: pytest.MonkeyPatch, before: list[Call], after: list[Call]
) -> None:
    expect(monkeypatch, *before, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    assert not (build.cache_folder() / "images" / recipe.load().short).exists()
    if CLEAR in after[:-1]:  # the base begins again from an empty folder
        after = [CLEAR, *[c for c in after[:-1] if c is not CLEAR], CLEAR]
    calls = expect(monkeypatch, *after)
    assert oci.is_whole(ensure_image(recipe_reference()))
    calls.done()


def test_a_short_disk_is_refused_with_what_is_needed_before_anything_runs(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 3 * 2**30))
    expect(monkeypatch)
    with pytest.raises(HostError, match=r"needs 1\d\.\d GiB free .* there are 3\.0 GiB") as caught:
        ensure_image(recipe_reference())
    assert "free 8.9" in caught.value.remedy and not work.folder.exists()


def test_a_resumed_build_asks_only_for_the_disk_that_it_still_needs(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, *BASE, INSTALL, FINISH, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 7 * 2**30))
    expect(monkeypatch, *LAYERS, CLEAR)
    assert oci.is_whole(ensure_image(recipe_reference()))


@pytest.mark.parametrize("by", ["program", "ourselves"])
def test_a_disk_that_fills_up_is_said_so_and_the_work_stays_for_the_next_run(work: Work, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    def fail(_words: list[str], _named: dict[str, Any]) -> None:
        if by == "ourselves":
            raise OSError(errno.ENOSPC, "No space left on device")

    expect(monkeypatch, *BASE, Call([], fail, output="error: No space left on device (os error 28)", code=2))
    with pytest.raises(HostError, match="the disk became full during the image build") as caught:
        ensure_image(recipe_reference())
    assert "goes on with what is done" in caught.value.remedy
    assert work.done("base") and not work.done("packages")


def test_other_failures_are_passed_on(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, *BASE, Call([], output="hash mismatch", code=1))
    with pytest.raises(HostError, match="hash mismatch"):
        ensure_image(recipe_reference())


def test_no_archive_says_what_to_type(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, Call(["mmdebstrap"], output="E: Failed to fetch InRelease  Could not resolve host", code=100))
    with pytest.raises(HostError, match=r"Debian's archive could not be read") as caught:
        ensure_image(recipe_reference())
    assert "LAB_DEBIAN_MIRROR=" in caught.value.remedy


def test_a_version_that_the_archive_no_longer_has_is_said_and_written_down(
    work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = Call(["dpkg-query"], output=_packages({"base-files": "99"}))
    expect(monkeypatch, MAKE, newer, CLEAN, INSTALL, FINISH, *LAYERS, CLEAR)
    layout = ensure_image(recipe_reference())
    assert "! base package base-files: the recipe says 12." in capsys.readouterr().err
    assert json.loads((layout.parent / "build.json").read_text()) == {"drift": {"base-files": "99"}}


def test_pins_name_every_package_with_its_version(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, MAKE, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    pins = (work.folder / "preferences").read_text()
    assert all(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" in pins for name, version in recipe.load().debian.items())


@pytest.mark.parametrize("place", ["build", "final"])
def test_foreign_files_are_never_deleted(work: Work, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    folder = work.folder if place == "build" else build.cache_folder() / "images" / recipe.load().short
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("mine")
    expect(monkeypatch, *([] if place == "build" else [*BASE, INSTALL, FINISH, *LAYERS]))
    with pytest.raises(HostError, match=r"the lab did not make|was not made by the lab") as caught:
        ensure_image(recipe_reference())
    assert "mv " in caught.value.remedy
    assert (folder / "thesis.tex").read_text() == "mine"


def test_a_layout_that_lost_a_blob_is_made_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, *BASE, INSTALL, FINISH, *LAYERS, CLEAR)
    layout = ensure_image(recipe_reference())
    oci.layer_paths(layout)[1].write_bytes(b"")
    assert not oci.is_whole(layout)
    calls = expect(monkeypatch, *BASE, INSTALL, FINISH, *LAYERS, CLEAR)
    assert oci.is_whole(ensure_image(recipe_reference()))
    calls.done()


def test_another_reference_is_refused_with_the_way_to_the_right_one(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch)
    with pytest.raises(HostError, match=r"builds lab\.local/vllm-cpu:0\.32\.0-[0-9a-f]{12}, and the plan asks for other:1") as caught:
        ensure_image("other:1")
    assert "host.images reference" in caught.value.remedy


def test_missing_programs_are_all_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "tools", lambda cache: rootfs.Tools(cache / "mmdebstrap", cache / "keys.gpg"))
    monkeypatch.setattr(rootfs, "missing_programs", lambda _path: ["perl", "setpriv"])
    with pytest.raises(HostError, match="perl, setpriv"):
        ensure_image(recipe_reference())


def test_credentials_of_an_index_stand_in_no_command_line(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://user:sesame@index.invalid/simple")
    calls = expect(monkeypatch, *BASE, Call(CONTAINED, _script("sesame"), code=1, output="no such package"))
    with pytest.raises(HostError) as caught:
        ensure_image(recipe_reference())
    assert "sesame" not in str(caught.value) and not any("sesame" in word for words in calls.made for word in words)


def test_a_build_deletes_nothing_outside_its_folder(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch)
    with pytest.raises(HostError, match="not its own"):
        work.remove(tmp_path)
