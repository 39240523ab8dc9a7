"""Images in Docker's store: the archive that a built one is handed over as, and what is pulled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.artifacts.images import oci
from host.artifacts.images.oci import Image
from host.drivers.docker import images
from probes.docker_api import DockerApi
from stacks.errors import HostError
from tests.support.fake_docker import FakeDocker, served

REFERENCE = "lab.local/x:1"
PULLED = "docker.io/vllm/vllm-openai:v1@sha256:" + "1" * 64
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of an image are read as root")


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    fake = FakeDocker()
    with served(fake, tmp_path_factory.mktemp("d") / "s") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield fake
    assert fake.refused == []


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """One that the builder has made."""
    made = Image(tmp_path / "image")
    (made.rootfs / "bin").mkdir(parents=True)
    (made.rootfs / "bin/program").write_bytes(b"#!/bin/sh\n" * 1000)
    oci.describe(
        made, reference=REFERENCE, config={"User": "1"}, architecture="amd64", labels={}, busy=tmp_path / "busy"
    )
    monkeypatch.setattr(images, "ensure_image", lambda _reference: made)
    return made


@as_root
def test_the_archive_is_one_that_docker_save_would_write(image: Image) -> None:
    archive = b"".join(images.archive(image, REFERENCE))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {entry.name: opened.extractfile(entry).read() for entry in opened}
    assert list(files) == ["manifest.json", "config.json", "layer.tar"]
    assert json.loads(files["manifest.json"]) == [
        {"Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"]}
    ]
    (diff,) = json.loads(files["config.json"])["rootfs"]["diff_ids"]
    assert diff == f"sha256:{hashlib.sha256(files['layer.tar']).hexdigest()}" == image.chain()
    with tarfile.open(fileobj=io.BytesIO(files["layer.tar"])) as layer:
        assert "./bin/program" in layer.getnames()


@as_root
def test_a_built_image_is_loaded_once_and_again_where_its_name_leads_elsewhere(
    engine: FakeDocker, image: Image
) -> None:
    def ensure() -> bool:
        api = DockerApi.connect()
        return images.ensure(api, REFERENCE, "never", api.document(f"/images/{REFERENCE}/json"))

    assert (ensure(), ensure()) == (True, False)
    engine.images[REFERENCE]["RootFS"]["Layers"] = ["sha256:another"]
    assert (ensure(), ensure()) == (True, False)
    assert engine.images[REFERENCE]["RootFS"]["Layers"] == [image.chain()]


@as_root
def test_a_damaged_image_is_not_handed_over(engine: FakeDocker, image: Image) -> None:
    (image.rootfs / "bin/program").unlink()
    with pytest.raises(HostError, match="is damaged"):
        images.ensure(DockerApi.connect(), REFERENCE, "never", None)
    assert engine.images == {}


def test_an_image_is_pulled_where_it_is_missing_and_a_refusal_is_said(engine: FakeDocker) -> None:
    engine.pullable = (PULLED,)
    api = DockerApi.connect()
    assert images.ensure(api, PULLED, "missing", None) is True
    assert images.ensure(api, PULLED, "missing", engine.images[PULLED]) is False
    with pytest.raises(HostError, match=r"manifest for docker\.io/other/image not found"):
        images.ensure(api, "docker.io/other/image:1", "missing", None)


def test_an_image_in_use_is_kept(engine: FakeDocker) -> None:
    engine.images = {"free:1": {"Id": "1"}, "used:1": {"Id": "2"}}
    engine.containers["c"] = {"Id": "3", "Name": "/c", "Config": {"Image": "used:1"}}
    assert images.remove_built(DockerApi.connect(), ["free:1", "used:1", "none:1"]) == ["free:1"]
    assert list(engine.images) == ["used:1"]
