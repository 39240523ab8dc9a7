"""The gateway under load: what it adds, what it holds, and who notices when an engine or a key goes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.artifacts import go_modules
from host.gateway import gateway_files
from stacks import names
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.e2e.test_gateway import CHAT, MODEL, SECOND, SLOT, SPACE, STACK, two_models
from tests.e2e.test_up import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_LIMIT = 100_000  # the highest that a stack file allows
_ROUNDS = 3
_SECOND = ",".join(f"{key}={value}" for key, value in names.model_selector(SECOND).items())


@pytest.fixture
def lab(tmp_path: Path, stand_in: Path) -> Iterator[Lab]:
    for made in two_models(tmp_path / "lab", stand_in):
        file = made.folder / f"Pulumi.{STACK}.yaml"
        told = yaml.safe_load(file.read_text())
        told["config"]["local-ai-lab:gateway"]["requestsPerMinute"] = _LIMIT
        file.write_text(yaml.safe_dump(told))
        yield made


class Load:
    """Requests to one address, with those keys."""

    def __init__(self, program: Path, folder: Path, url: str, keys: list[str], authority: str | None) -> None:
        self._keys = folder / f"keys-{len(list(folder.iterdir()))}"
        self._keys.write_text("\n".join(keys))
        self._keys.chmod(0o600)
        trust = ["-ca", authority] if authority else []
        self._words = [str(program), "-url", url + CHAT, "-keys", str(self._keys), *trust]

    def begin(self, mode: str, model: str = MODEL, **options: float) -> subprocess.Popen[str]:
        words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
        return subprocess.Popen(
            [*self._words, "-mode", mode, "-model", model, *words], stdout=subprocess.PIPE, text=True
        )

    def __call__(self, mode: str, model: str = MODEL, **options: float) -> dict[str, Any]:
        return _told(self.begin(mode, model, **options))


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_gateway_under_load(lab: Lab, tmp_path: Path) -> None:
    program = go_modules.build(go_modules.GoModule(ROOT / "tests/e2e/load", {"load": "."}, "v1"), tmp_path) / "load"
    lab.up()
    told, cluster = lab("endpoint", STACK, "--json"), Cluster(STACK, SLOT)
    keys = [lab("keys", STACK, "add", f"load-{n}", "--json")["key"] for n in range(4)]
    time.sleep(2)  # until all are known
    folder = tmp_path / "loads"
    folder.mkdir()
    base = f"https://{names.embedded_node_address(SLOT)}:30095"
    gateway = Load(program, folder, base, keys, told["authority"])
    service = cluster.kubectl(
        "get", "service", "-n", SPACE, MODEL, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
    )
    bare = Load(program, folder, f"http://{service}", [gateway_files.engine_key(STACK)], None)

    for number in range(_ROUNDS):  # in turn: the machine drifts
        for name, load in (("bare", bare), ("gateway", gateway)):
            found = load("rate", rate=200, seconds=10)
            assert set(found["statuses"]) == {"200"}, found
            print(
                f"\n200/s {name} {number}: " + ", ".join(f"{p} {found[p]:.2f} ms" for p in ("p50", "p90", "p99", "max"))
            )
    for name, load in (("bare", bare), ("gateway", gateway)):
        found = load("saturate", workers=32, seconds=10)
        print(f"saturated {name}: {found['requestsPerSecond']:.0f}/s, p50 {found['p50']:.2f} ms, {found['statuses']}")

    streams = gateway.begin("hold", workers=1000, seconds=60)
    time.sleep(30)
    print("while 1,000 streams are held:", _usage())
    held = _told(streams)
    print("streams:", held)
    assert held["ends"] == {"whole": 1000}
    assert held["mostAtOnce"] == 1000

    _an_engine_goes(cluster, gateway)
    _a_key_goes(lab, program, folder, base, told["authority"], gateway)
    lab.down()


def _usage() -> str:
    """Memory and processor time of Envoy, the one program of that name."""
    (process,) = [p.parent for p in Path("/proc").glob("[0-9]*/comm") if p.read_text().strip() == "envoy"]
    begin = _ticks(process)
    time.sleep(10)
    status = (process / "status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    used = (_ticks(process) - begin) / os.sysconf("SC_CLK_TCK") / 10
    return f"Envoy {resident / 1024:.0f} MiB resident, {used:.3f} processors"


def _ticks(process: Path) -> int:
    return sum(int(field) for field in (process / "stat").read_text().rpartition(")")[2].split()[11:13])


def _an_engine_goes(cluster: Cluster, gateway: Load) -> None:
    """The other model does not notice; of this one the requests in flight end, others are told to come back."""
    running = {model: gateway.begin("rate", model, rate=100, seconds=20) for model in (MODEL, SECOND)}
    time.sleep(5)
    cluster.kubectl("delete", "pod", "-n", SPACE, "-l", _SECOND, "--grace-period=0", "--force")
    found = {model: _told(process)["statuses"] for model, process in running.items()}
    print("an engine is killed:", found)
    assert set(found[MODEL]) == {"200"}
    assert set(found[SECOND]) <= {"200", "503", "cut"} and found[SECOND]["200"] > 500


def _a_key_goes(lab: Lab, program: Path, folder: Path, base: str, authority: str, gateway: Load) -> None:
    """Requests with valid keys do not notice; the old one is refused within seconds."""
    leaving = lab("keys", STACK, "add", "leaving", "--json")["key"]
    time.sleep(2)
    others = gateway.begin("rate", rate=200, seconds=20)
    old = Load(program, folder, base, [leaving], authority).begin("rate", rate=20, seconds=20)
    time.sleep(5)
    lab("keys", STACK, "rotate", "leaving", "--json")
    told, gone = _told(others), _told(old)
    print("a key is rotated under load:", told["statuses"], "the old one:", gone["statuses"])
    assert set(told["statuses"]) == {"200"}
    assert set(gone["statuses"]) == {"200", "401"}
