"""`lab trust`: the stack's own authority, and what to type on each system."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from cli.commands import trust
from cli.gateway_app import ROOT
from host.gateway import gateway_files
from stacks.errors import LabError
from stacks.settings import PROJECT
from tests.support.stacks import IN_DOCKER, configuration


def _project(folder: Path, **gateway: str) -> Path:
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    own = {**configuration(IN_DOCKER[0]), "gateway": gateway}
    config = {"pulumi:disable-default-providers": ["kubernetes"], **{f"{PROJECT}:{key}": own[key] for key in own}}
    (folder / "Pulumi.box.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def test_it_names_the_certificate_that_clients_are_given_and_how_to_trust_it(tmp_path: Path) -> None:
    root = _project(tmp_path, kind="envoy")
    gateway_files.ensure("box", "{}", ("127.0.0.1", "localhost"))
    told = trust.describe(root, "box")
    text = gateway_files.authority("box").read_text()
    assert told["pem"] == text
    assert told["sha256"].count(":") == 31
    assert told["validUntil"] == x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc.date().isoformat()
    assert told["hosts"] == ["127.0.0.1", "localhost"]
    for title, commands in told["commands"].items():
        assert "lab-box.crt" in commands or str(gateway_files.authority("box")) in commands or title == "Firefox"
    assert "PRIVATE" not in str(told)


def test_the_certificate_alone_goes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _project(tmp_path, kind="envoy")
    gateway_files.ensure("box", "{}", ("127.0.0.1", "localhost"))
    trust.run(root, "box", pem=True, as_json=False)
    assert capsys.readouterr().out == gateway_files.authority("box").read_text()


def test_without_a_certificate_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not made yet") as caught:
        trust.describe(_project(tmp_path, kind="envoy"), "box")
    assert caught.value.remedy == "./lab up box"
    for gateway in ({"kind": "none"}, {"kind": "envoy", "tls": "off"}):
        with pytest.raises(LabError, match="serves without TLS") as caught:
            trust.describe(_project(tmp_path, **gateway), "box")
        assert caught.value.exit_code == 2
