"""A cluster gets a built image as hard links, once, and a killed import is begun again."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from host.artifacts.images.oci import Image
from host.drivers.embedded import images, layout
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from stacks.errors import HostError
from tests.host.test_embedded_configs import plan
from tests.support.expected_commands import Call, expect

REFERENCE, CHAIN = "lab.local/vllm-cpu:1", "sha256:" + "ab" * 32


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Layout:
    monkeypatch.setattr(layout, "RUN", tmp_path / "run")
    made = Layout("dev", plan(images=(REFERENCE,)))
    made.run.mkdir(parents=True)
    image = Image(tmp_path / "image")
    (image.layout / "blobs").mkdir(parents=True)
    (image.layout / "index.json").write_text("{}")
    image.rootfs.mkdir()
    monkeypatch.setattr(Image, "chain", lambda _self: CHAIN)
    monkeypatch.setattr(
        images, "ensure_image", lambda reference: image if reference == REFERENCE else pytest.fail(reference)
    )
    monkeypatch.setattr(Image, "require_files", lambda _self: None)
    monkeypatch.setattr(images, "pause_reference", lambda _parts: "pause:1")
    return made


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(*(tmp_path / name for name in ("kubernetes", "containerd", "etcd", "pause", "debian")))


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots/7/fs"
    folder.mkdir(parents=True)
    return folder


def _table(*names: str, broken: str = "") -> str:
    rows = [f"{name} type sha256:1 incomplete (1/2) 1.0 B/4.1 GiB true" for name in names]
    rows += [f"{broken} type sha256:1 incomplete (1/2) 1.0 B/4.1 GiB false"] if broken else []
    return "\n".join(["REF TYPE DIGEST STATUS SIZE UNPACKED ", *rows])


def _archive_has_no_layer(words: list[str], _named: dict[str, Any]) -> None:
    assert b"index.json" in Path(words[-1]).read_bytes()
    assert Path(words[-1]).stat().st_size < 100_000


CHECK = Call(["images", "check"], output=_table("pause:1"))
NO_SNAPSHOT = Call(["snapshots", "list"], output="KEY PARENT KIND\nsha256:ff  Committed\n")
CLEAN = Call(["snapshots", "remove", "local-ai-lab-import"])
COMMIT = Call(["snapshots", "commit", CHAIN, "local-ai-lab-import"])
IMPORT = Call(["images", "import", "--local", "--no-unpack"], _archive_has_no_layer)


def _prepare(snapshot: Path) -> Call:
    return Call(
        ["snapshots", "prepare", "--mounts", "local-ai-lab-import"],
        output=json.dumps([{"Type": "bind", "Source": str(snapshot)}]),
    )


def test_the_files_are_linked_and_the_name_comes_last(
    place: Layout, parts: Parts, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Call(["setpriv", "--pdeathsig", "flock", "cp", "--archive", "--link", "rootfs/.", str(snapshot)])
    calls = expect(monkeypatch, CHECK, NO_SNAPSHOT, CLEAN, _prepare(snapshot), link, COMMIT, IMPORT)
    assert images.ensure_images(place, parts) == [REFERENCE]
    calls.done()
    assert list(snapshot.iterdir()) == []  # the probe is gone


def test_on_another_disk_the_files_are_copied(
    place: Layout, parts: Parts, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    calls = expect(
        monkeypatch, CHECK, NO_SNAPSHOT, CLEAN, _prepare(snapshot), Call(["cp", "--archive"]), COMMIT, IMPORT
    )
    images.ensure_images(place, parts)
    calls.done()
    assert not any("--link" in words for words in calls.made)


def test_an_import_that_ended_before_the_name_only_gives_the_name(
    place: Layout, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = expect(monkeypatch, CHECK, Call(["snapshots", "list"], output=f"{CHAIN}  Committed\n"), IMPORT)
    assert images.ensure_images(place, parts) == [REFERENCE]
    calls.done()


def test_what_is_there_is_left_alone(place: Layout, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, Call(["images", "check"], output=_table("pause:1", REFERENCE)))
    assert images.ensure_images(place, parts) == []


def test_a_name_without_files_counts_as_absent(
    place: Layout, parts: Parts, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Call(["images", "check"], output=_table("pause:1", broken=REFERENCE))
    calls = expect(monkeypatch, table, NO_SNAPSHOT, CLEAN, _prepare(snapshot), Call(["cp"]), COMMIT, IMPORT)
    assert images.ensure_images(place, parts) == [REFERENCE]
    calls.done()


def test_a_damaged_image_is_never_given_to_a_cluster(
    place: Layout, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_self: Image) -> None:
        raise HostError("is damaged")

    monkeypatch.setattr(Image, "require_files", damaged)
    calls = expect(monkeypatch, CHECK, NO_SNAPSHOT)
    with pytest.raises(HostError, match="is damaged"):
        images.ensure_images(place, parts)
    calls.done()
