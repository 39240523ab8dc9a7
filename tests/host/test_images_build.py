"""The image build: phases in order, resumed where a kill stopped them, refused before the disk is full, and careful
with others' files.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from host.artifacts.images import build, disk, ensure_image, recipe, recipe_reference, rootfs, still_needed_gib
from host.artifacts.images.oci import Image
from host.artifacts.images.phases import Work
from stacks.errors import HostError
from tests.support.expected_commands import Call, expect

_Usage = namedtuple("_Usage", "total used free")


class Killed(BaseException):
    """As good as kill -9: nothing that the program wrote for failures runs to its end."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(
        rootfs,
        "tools",
        lambda cache: rootfs.Tools(cache / "mmdebstrap", cache / "keys.gpg", cache / "strip", ("/lib",)),
    )
    monkeypatch.setattr(rootfs, "missing_programs", lambda _path: [])
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 100 * 2**30))
    monkeypatch.setattr("host.artifacts.images.phases.shutil.which", lambda name: f"/usr/bin/{name}")
    return Work(build.cache_folder() / "images" / f"{recipe.load().short}.build")


def _make_root(words: list[str], _named: dict[str, Any]) -> None:
    root = Path(words[-1])
    (root / "etc").mkdir(parents=True)
    (root / "opt/vllm").mkdir(parents=True)


def _packages(drift: dict[str, str] | None = None) -> str:
    return "".join(f"{name}={version}\n" for name, version in {**recipe.load().debian, **(drift or {})}.items())


def _remove(words: list[str], _named: dict[str, Any]) -> None:
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
FINISH = [
    Call(["setpriv", "flock", "vllm/_C*.so", "image/rootfs", "strip", "/lib"], root=True),
    Call([*CONTAINED, "--net"], _script("compileall"), root=True),
    Call(["setpriv", "flock", "dev proc sys mnt tmp run -mindepth 1 -delete", "rootfs"], root=True),
]
LAYER = "ab" * 32
DESCRIBE = [
    Call(["setpriv", "flock", "tar -C", "image/rootfs"], output=f"{LAYER} 4096\n", root=True),
    Call(["find", "rootfs", "-type", "f"], output="7\n35\n", root=True),
]
CLEAR = Call(["flock", "rm", "-rf"], _remove, root=True)


def _image() -> Image:
    return Image(build.cache_folder() / "images" / recipe.load().short)


def test_a_first_build_runs_every_phase_and_leaves_only_the_image(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = expect(monkeypatch, *BASE, INSTALL, *FINISH, *DESCRIBE)
    image = ensure_image(recipe_reference())
    calls.done()
    assert image == _image() and image.is_whole() and not work.folder.exists()
    documents = {name: json.loads(data) for name, data in image.documents().items()}
    (entry,) = documents["index.json"]["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == recipe_reference()
    manifest = documents[f"blobs/{entry['digest'].replace(':', '/')}"]
    assert manifest["layers"] == [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{LAYER}", "size": 4096}
    ]
    config = documents[f"blobs/{manifest['config']['digest'].replace(':', '/')}"]
    assert config["config"]["User"] == "2000:2000" and config["rootfs"]["diff_ids"] == [f"sha256:{LAYER}"] == [
        image.chain()
    ]


def test_a_second_call_runs_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, *BASE, INSTALL, *FINISH, *DESCRIBE)
    first = ensure_image(recipe_reference())
    expect(monkeypatch)
    assert ensure_image(recipe_reference()) == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([Call(MAKE.words, _make_root, root=True)], [CLEAR, MAKE, LIST, CLEAN, INSTALL, *FINISH, *DESCRIBE]),
        (BASE, [INSTALL, *FINISH, *DESCRIBE]),
        ([*BASE, INSTALL], [*FINISH, *DESCRIBE]),
        ([*BASE, INSTALL, *FINISH[:2]], [*FINISH, *DESCRIBE]),
        ([*BASE, INSTALL, *FINISH, DESCRIBE[0]], DESCRIBE),
    ],
    ids=["in the base", "in the packages", "in the finish", "after the bytecode", "in the digest"],
)
def test_a_killed_build_goes_on_with_the_phase_that_had_not_ended(
    work: Work, monkeypatch: pytest.MonkeyPatch, before: list[Call], after: list[Call]
) -> None:
    expect(monkeypatch, *before, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    assert not (build.cache_folder() / "images" / recipe.load().short).exists()
    calls = expect(monkeypatch, *after)
    assert ensure_image(recipe_reference()).is_whole()
    calls.done()


def test_a_short_disk_is_refused_with_what_is_needed_before_anything_runs(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 3 * 2**30))
    expect(monkeypatch)
    with pytest.raises(HostError, match=r"needs \d\.\d GiB free .* there are 3\.0 GiB") as caught:
        ensure_image(recipe_reference())
    assert "run the same command again" in caught.value.remedy and not work.folder.exists()


def test_a_resumed_build_asks_only_for_the_disk_that_it_still_needs(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 5 < still_needed_gib(recipe_reference()) < 6
    expect(monkeypatch, *BASE, INSTALL, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    assert 0 < still_needed_gib(recipe_reference()) < 1
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: _Usage(0, 0, 2 * 2**30))
    expect(monkeypatch, *FINISH, *DESCRIBE)
    assert ensure_image(recipe_reference()).is_whole()
    assert still_needed_gib(recipe_reference()) == 0
    assert still_needed_gib("another:1") > 5


@pytest.mark.parametrize("by", ["program", "ourselves"])
def test_a_disk_that_fills_up_is_said_so_and_the_work_stays_for_the_next_run(
    work: Work, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
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
    expect(monkeypatch, MAKE, newer, CLEAN, INSTALL, *FINISH, *DESCRIBE)
    image = ensure_image(recipe_reference())
    assert "! base package base-files: the recipe says 12." in capsys.readouterr().err
    assert json.loads((image.folder / "build.json").read_text()) == {"drift": {"base-files": "99"}}


def test_pins_name_every_package_with_its_version(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, MAKE, Call([], _kill))
    with pytest.raises(Killed):
        ensure_image(recipe_reference())
    pins = (work.folder / "preferences").read_text()
    assert all(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" in pins
        for name, version in recipe.load().debian.items()
    )


@pytest.mark.parametrize("place", ["build", "final"])
def test_foreign_files_are_never_deleted(work: Work, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    folder = work.folder if place == "build" else build.cache_folder() / "images" / recipe.load().short
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("mine")
    expect(monkeypatch, *([] if place == "build" else [*BASE, INSTALL, *FINISH, *DESCRIBE]))
    with pytest.raises(HostError, match=r"the lab did not make|was not made by the lab") as caught:
        ensure_image(recipe_reference())
    assert "mv " in caught.value.remedy
    assert (folder / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("lost", ["a document", "the files"])
def test_an_image_that_lost_something_is_made_again(work: Work, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    expect(monkeypatch, *BASE, INSTALL, *FINISH, *DESCRIBE)
    image = ensure_image(recipe_reference())
    if lost == "a document":
        next((image.layout / "blobs/sha256").iterdir()).write_bytes(b"")
    else:
        shutil.rmtree(image.rootfs)
    assert not image.is_whole()
    calls = expect(monkeypatch, *BASE, INSTALL, *FINISH, *DESCRIBE, CLEAR)
    assert ensure_image(recipe_reference()).is_whole() and not work.folder.exists()
    calls.done()


@pytest.mark.parametrize(
    ("sizes", "right"), [("7\n35\n", True), ("7\n", False), ("7\n34\n", False)], ids=["whole", "a file short", "cut"]
)
def test_files_that_were_lost_are_noticed_before_a_cluster_gets_them(
    work: Work, monkeypatch: pytest.MonkeyPatch, sizes: str, right: bool
) -> None:
    expect(monkeypatch, *BASE, INSTALL, *FINISH, *DESCRIBE)
    image = ensure_image(recipe_reference())
    expect(monkeypatch, Call(["find", "rootfs"], output=sizes))
    if right:
        image.require_files()
    else:
        with pytest.raises(HostError, match=r"is damaged: it has .* and was built with 2 and 42") as caught:
            image.require_files()
        assert f"sudo rm -rf {image.folder}" in caught.value.remedy


def test_another_reference_is_refused_with_the_way_to_the_right_one(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch)
    with pytest.raises(
        HostError, match=r"builds lab\.local/vllm-cpu:0\.32\.0-[0-9a-f]{12}, and the plan asks for other:1"
    ) as caught:
        ensure_image("other:1")
    assert "host.artifacts.images reference" in caught.value.remedy


def test_missing_programs_are_all_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "missing_programs", lambda _path: ["perl", "setpriv"])
    with pytest.raises(HostError, match="perl, setpriv"):
        ensure_image(recipe_reference())


def test_credentials_of_an_index_stand_in_no_command_line(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://user:sesame@index.invalid/simple")
    calls = expect(monkeypatch, *BASE, Call(CONTAINED, _script("sesame"), code=1, output="no such package"))
    with pytest.raises(HostError) as caught:
        ensure_image(recipe_reference())
    assert "sesame" not in str(caught.value) and not any("sesame" in word for words in calls.made for word in words)


def test_a_build_deletes_nothing_outside_its_folder(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch)
    with pytest.raises(HostError, match="not its own"):
        work.remove(tmp_path)
