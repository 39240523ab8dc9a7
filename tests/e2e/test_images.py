"""An image of the builder in real clusters: linked and not copied, begun again where a run was killed, gone with the
cluster.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.artifacts import go_modules
from host.artifacts.images.oci import Image
from host.drivers.embedded import images, parts
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.support import stand_in_image
from tests.support.kill_points import chosen

pytestmark = pytest.mark.e2e

PLACES = (("e2e-image", 59), ("e2e-image-b", 58))


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Image]]:
    """The reference and the folder of a stand-in that the builder offers to the clusters of the test."""
    project = tmp_path / "lab"
    skip = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, project, ignore=skip)
    monkeypatch.setattr(Cluster, "root", project)
    module = go_modules.GoModule(ROOT / "tests/e2e/standin", {"pause": "."}, "v1")
    with stand_in_image.offered(project, go_modules.build(module, tmp_path) / "pause") as found:
        yield found


@pytest.fixture
def pair(offered: tuple[str, Image]) -> Iterator[list[Cluster]]:
    """Two clusters that want the image and are not there yet; whatever the test leaves is removed."""
    made = [Cluster(*place, images=(offered[0],)) for place in PLACES]
    yield made
    for cluster in made:
        cluster.host("destroy")
        (cluster.layout.state.parent / "cluster.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cluster.layout.state.parent.rmdir()


def test_two_clusters_run_pods_from_one_copy_and_leave_nothing_but_it(pair, offered):
    reference, image = offered
    for number, cluster in enumerate(pair, start=1):
        cluster.host("ensure")
        assert len(_linked(cluster, image)) == 1
        assert (image.rootfs / "program").stat().st_nlink == 1 + number
        blobs = cluster.layout.images / "io.containerd.content.v1.content/blobs/sha256"
        assert blobs.is_dir() and not (blobs / image.chain().removeprefix("sha256:")).exists()
        _run(cluster, "before", reference)
    os.kill(pair[0].pid("containerd"), signal.SIGKILL)
    assert pair[0].host("ensure")["changed"] == ["started containerd"]
    _run(pair[0], "after", reference)
    for cluster in pair:
        cluster.host("destroy")
        assert not cluster.layout.images.exists()
    assert image.is_whole() and (image.rootfs / "program").stat().st_nlink == 1
    image.require_files()


def test_an_import_killed_anywhere_is_finished_by_the_next(pair, offered):
    (reference, image), (cluster, _) = offered, pair
    Cluster(*PLACES[0]).host("ensure")  # without the image: what is left to do is the import
    cluster.host("ensure", kill_at=0)
    points = int(cluster.said.rsplit("points: ", 1)[1])
    for point in chosen(points, 3):
        print(f"killed at {point} of {points}", flush=True)
        _ctr(cluster, "images", "remove", reference)
        _ctr(cluster, "snapshots", "remove", image.chain())
        cluster.host("ensure", kill_at=point)
        cluster.host("ensure")
        assert cluster.host("ensure")["changed"] == [], f"killed at {point} of {points}"
        assert len(_linked(cluster, image)) == 1, f"killed at {point} of {points}"
        assert "Active" not in _ctr(cluster, "snapshots", "list"), f"killed at {point} of {points}"
    _run(cluster, "afterwards", reference)


def _linked(cluster: Cluster, image: Image) -> list[Path]:
    """The cluster's snapshots that hold the very file of the image."""
    found = cluster.layout.images.glob("io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/program")
    return [path for path in found if path.samefile(image.rootfs / "program")]


def _ctr(cluster: Cluster, *words: str) -> str:
    built = parts.available(cluster.plan, cluster.layout.cache)
    assert built
    return images.ctr(cluster.layout, built, *words, check=False)


def _run(cluster: Cluster, name: str, image: str) -> None:
    """Starts a pod of the image and waits until its program runs."""
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": name, "image": image, "imagePullPolicy": "Never", "readinessProbe": {
                "httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}}],
        },
    }  # fmt: skip
    cluster.kubectl("wait", "--for=create", "-n", "default", "serviceaccount/default", "--timeout=30s")
    cluster.kubectl("apply", "-f", "-", text=json.dumps(pod))
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
