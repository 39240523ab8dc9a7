"""A folder of files and what is said about it: the digest is that of the archive which nobody writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from host.artifacts.images import oci
from host.artifacts.images.oci import Image
from stacks.errors import HostError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of an image are read as root")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = Image(tmp_path / "image")
    (made.rootfs / "bin").mkdir(parents=True)
    (made.rootfs / "bin/program").write_bytes(b"#!/bin/sh\n")
    (made.rootfs / "bin/program").chmod(0o755)
    (made.rootfs / "again").hardlink_to(made.rootfs / "bin/program")
    (made.rootfs / "name").symlink_to("bin/program")
    for path in (made.rootfs, *made.rootfs.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)
    _describe(made)
    return made


def _describe(image: Image) -> None:
    oci.describe(
        image,
        reference="lab.local/x:1",
        config={"User": "1"},
        architecture="amd64",
        labels={},
        busy=image.folder / "busy",
    )


def test_the_digest_is_that_of_the_archive_of_the_files(image: Image) -> None:
    words = ["tar", "-C", str(image.rootfs), "--format=gnu", "--numeric-owner", "--sort=name", "-cf", "-", "."]
    archive = subprocess.run(words, capture_output=True, check=True).stdout
    assert image.chain() == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    (manifest,) = [
        json.loads(data) for data in image.documents().values() if b'"layers"' in data and b"diff_ids" not in data
    ]
    assert manifest["layers"][0]["size"] == len(archive)


def test_links_from_elsewhere_change_nothing(image: Image, tmp_path: Path) -> None:
    before = image.chain()
    shutil.copytree(image.rootfs, tmp_path / "cluster", copy_function=os.link, symlinks=True)
    _describe(image)
    assert image.chain() == before


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damage_is_noticed(image: Image, damage: str) -> None:
    image.require_files()
    if damage == "gone":
        (image.rootfs / "again").unlink()
    else:
        (image.rootfs / "again").write_bytes(b"#")
    with pytest.raises(HostError, match="is damaged"):
        image.require_files()
