"""Releases: downloaded once, resumed, verified; refused where they are not what was recorded."""

import hashlib
import io
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from pydantic import ValidationError

from host.artifacts import download, go_modules, releases
from host.drivers.embedded import parts
from stacks.errors import HostError
from tests.support.release_host import Answer, ReleaseHost

PROGRAM = hashlib.shake_256(b"a program").digest(300_000)
PATH = "/release/v1.0.0/tool"
CHILD = """
import sys
from pathlib import Path
from host.artifacts import releases
releases._RECORDED = Path(sys.argv[1])
print("begins", flush=True)
print(releases.obtain("tool", "v1.0.0", Path(sys.argv[2])))
"""


@pytest.fixture
def host(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "LAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(go_modules, "architecture", lambda: "amd64")
    releases._unreachable.clear()
    with ReleaseHost(files={PATH: PROGRAM}).running() as running:
        monkeypatch.setenv("LAB_RELEASES_MIRROR", running.url)
        yield running
    releases._unreachable.clear()


@pytest.fixture
def record(monkeypatch, tmp_path):
    """Records releases for this test: name -> version -> what releases.yaml says."""

    def write(document):
        path = tmp_path / "recorded.yaml"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setattr(releases, "_RECORDED", path)
        releases.recorded.cache_clear()
        return path

    yield write
    releases.recorded.cache_clear()


def file(content, path=PATH, algorithm="sha256", **more):
    checksum = hashlib.new(algorithm, content).hexdigest()
    return {"url": f"https://dl.example.org{path}", algorithm: checksum, "source": "this test", **more}


def tool(content=PROGRAM, **more):
    return {"tool": {"v1.0.0": {"amd64": file(content, **more)}}}


def archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o4755
    return info


def nothing_is_left(cache):
    return not [p for p in (cache / "releases").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_program_is_downloaded_once_and_then_found_without_the_network(host, record, tmp_path, monkeypatch):
    record(tool(bytes=len(PROGRAM)))
    assert releases.obtained("tool", "v1.0.0", tmp_path) is None
    folder = releases.obtain("tool", "v1.0.0", tmp_path)
    assert [p.name for p in folder.iterdir()] == ["tool"]
    assert (folder / "tool").read_bytes() == PROGRAM
    assert (folder / "tool").stat().st_mode & 0o7777 == 0o755
    monkeypatch.setenv("LAB_OFFLINE", "1")
    assert releases.obtained("tool", "v1.0.0", tmp_path) == releases.obtain("tool", "v1.0.0", tmp_path) == folder
    assert [(r.path, r.range, r.encoding, r.sent) for r in host.requests] == [(PATH, None, "identity", len(PROGRAM))]


def test_several_files_of_a_release_lie_in_one_folder(host, record, tmp_path):
    host.files["/release/v1.0.0/other"] = b"other"
    record({"tool": {"v1.0.0": {"amd64": [file(PROGRAM), file(b"other", "/release/v1.0.0/other", "sha512")]}}})
    folder = releases.obtain("tool", "v1.0.0", tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"tool": PROGRAM, "other": b"other"}
    assert [p.name for p in folder.parent.iterdir() if not p.name.endswith(".lock")] == [folder.name]


def test_only_the_named_members_of_an_archive_are_unpacked(host, record, tmp_path):
    members = {"./tool-1/tool": PROGRAM, "tool-1/README": b"text", "tool-1/exec": b"#!"}
    packed = archive([(member(name), data) for name, data in members.items()])
    host.files["/tool.tar.gz"] = packed
    take = {"tool-1/tool": "tool", "tool-1/exec": "tool-exec"}
    record({"tool": {"v1.0.0": {"take": take, "amd64": file(packed, "/tool.tar.gz", bytes=len(packed))}}})
    folder = releases.obtain("tool", "v1.0.0", tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"tool": PROGRAM, "tool-exec": b"#!"}
    assert {p.stat().st_mode & 0o7777 for p in folder.iterdir()} == {0o755}
    assert [p.name for p in folder.parent.iterdir() if not p.name.endswith(".lock")] == [folder.name]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (member("../tool"), "points out of it"),
        (member("/bin/tool"), "points out of it"),
        (member("a/../../tool"), "points out of it"),
        (member("tool", tarfile.SYMTYPE, "/bin/sh"), "not a plain file"),
        (member("tool", tarfile.LNKTYPE, "other"), "not a plain file"),
        (member("tool", tarfile.DIRTYPE), "not a plain file"),
        (member("tool", tarfile.FIFOTYPE), "not a plain file"),
        (member("other"), "holds no tool"),
    ],
)
def test_an_archive_that_could_write_elsewhere_is_refused(host, record, tmp_path, wrong, said):
    packed = archive([(member("README"), b"text"), (wrong, b"")])
    host.files["/tool.tar.gz"] = packed
    record({"tool": {"v1.0.0": {"take": {"tool": "tool"}, "amd64": file(packed, "/tool.tar.gz")}}})
    with pytest.raises(HostError, match=said):
        releases.obtain("tool", "v1.0.0", tmp_path / "cache")
    assert releases.obtained("tool", "v1.0.0", tmp_path / "cache") is None
    assert not list(tmp_path.rglob("tool"))


@pytest.mark.parametrize("packed", [b"<html>", archive([(member("tool"), PROGRAM)])[:200_000]])
def test_what_is_no_whole_archive_is_refused(host, record, tmp_path, packed):
    host.files["/tool.tar.gz"] = packed
    record({"tool": {"v1.0.0": {"take": {"tool": "tool"}, "amd64": file(packed, "/tool.tar.gz")}}})
    with pytest.raises(HostError, match="cannot be read as an archive"):
        releases.obtain("tool", "v1.0.0", tmp_path)
    assert releases.obtained("tool", "v1.0.0", tmp_path) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_another_file_than_the_recorded_one_is_refused_with_both_checksums(host, record, tmp_path, algorithm):
    record(tool(b"the right one", algorithm=algorithm))
    with pytest.raises(HostError) as refused:
        releases.obtain("tool", "v1.0.0", tmp_path)
    for content in (b"the right one", PROGRAM):
        assert hashlib.new(algorithm, content).hexdigest() in str(refused.value)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("size", [len(PROGRAM) - 1, len(PROGRAM) + 1])
def test_another_size_than_the_recorded_one_is_refused(host, record, tmp_path, size):
    record(tool(bytes=size))
    with pytest.raises(HostError, match=f"has {len(PROGRAM)} bytes, {size} bytes are recorded"):
        releases.obtain("tool", "v1.0.0", tmp_path)
    assert nothing_is_left(tmp_path)


def test_a_cut_download_goes_on_where_it_was(host, record, tmp_path, capsys):
    host.answers[PATH] = [Answer(cut=100_000), Answer(cut=50_000)]
    record(tool())
    folder = releases.obtain("tool", "v1.0.0", tmp_path)
    assert (folder / "tool").read_bytes() == PROGRAM
    assert [(r.range, r.sent) for r in host.requests] == [
        (None, 100_000), ("bytes=100000-", 50_000), ("bytes=150000-", 150_000),
    ]  # fmt: skip
    assert "the connection was cut; again in 0 s, from 0.1 MiB on" in capsys.readouterr().err


def test_a_connection_may_be_cut_as_often_as_it_brings_something(host, record, tmp_path):
    host.answers[PATH] = [Answer(cut=40_000) for _ in range(6)]
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path)
    assert sum(r.sent for r in host.requests) == len(PROGRAM)


def test_a_redirect_as_github_has_it_keeps_the_range(host, record, tmp_path):
    with ReleaseHost(files={"/asset": PROGRAM}, answers={"/asset": [Answer(cut=100_000)]}).running() as assets:
        host.answers[PATH] = [Answer(location=f"{assets.url}/asset?signature={number}") for number in (1, 2)]
        record(tool())
        folder = releases.obtain("tool", "v1.0.0", tmp_path)
        assert (folder / "tool").read_bytes() == PROGRAM
        assert [(r.path, r.range, r.sent) for r in assets.requests] == [
            ("/asset?signature=1", None, 100_000), ("/asset?signature=2", "bytes=100000-", 200_000),
        ]  # fmt: skip


def test_a_server_without_ranges_starts_anew(host, record, tmp_path):
    host.answers[PATH] = [Answer(cut=100_000), Answer(ranges=False)]
    record(tool())
    folder = releases.obtain("tool", "v1.0.0", tmp_path)
    assert (folder / "tool").read_bytes() == PROGRAM
    assert [(r.range, r.sent) for r in host.requests] == [(None, 100_000), ("bytes=100000-", 300_000)]


def test_a_file_that_changed_meanwhile_is_noticed_and_downloaded_anew_by_the_next_run(host, record, tmp_path):
    work = begun(tmp_path, record(tool()))
    (work / "tool.partial").write_bytes(b"x" * 100_000)
    with pytest.raises(HostError, match="is another file"):
        releases.obtain("tool", "v1.0.0", tmp_path)
    assert nothing_is_left(tmp_path)
    assert (releases.obtain("tool", "v1.0.0", tmp_path) / "tool").read_bytes() == PROGRAM
    assert [r.range for r in host.requests] == ["bytes=100000-", None]


@pytest.mark.parametrize(("left", "ranges"), [(PROGRAM, ["bytes=300000-"]), (PROGRAM + b"x", ["bytes=300001-", None])])
def test_a_run_that_was_killed_behind_the_last_byte_is_finished(host, record, tmp_path, left, ranges):
    work = begun(tmp_path, record(tool()))
    (work / "tool.partial").write_bytes(left)
    assert (releases.obtain("tool", "v1.0.0", tmp_path) / "tool").read_bytes() == PROGRAM
    assert [r.range for r in host.requests] == ranges


def begun(cache, _recorded):
    """The folder in which a run that was killed has left things."""
    target = releases._target("tool", "v1.0.0", releases.recorded()["tool"]["v1.0.0"], cache)
    work = target.with_name(f".{target.name}.downloading")
    work.mkdir(parents=True)
    return work


@pytest.mark.long
def test_a_killed_process_is_resumed_by_the_next_one(host, record, tmp_path, root):
    host.answers[PATH] = [Answer(hold=120_000)]
    recorded = record(tool())
    words = [sys.executable, "-c", CHILD, recorded, tmp_path / "cache"]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE) as child:
        partial = wait_for(lambda: next((p for p in tmp_path.rglob("*.partial") if p.stat().st_size == 120_000), None))
        child.kill()
    host.release.set()
    folder = releases.obtain("tool", "v1.0.0", tmp_path / "cache")
    assert (folder / "tool").read_bytes() == PROGRAM
    assert not partial.exists()
    assert (host.requests[1].range, host.requests[1].sent) == ("bytes=120000-", 180_000)


@pytest.mark.long
def test_two_processes_at_once_download_once(host, record, tmp_path, root):
    host.answers[PATH] = [Answer(hold=1)]
    recorded = record(tool())
    words = [sys.executable, "-c", CHILD, recorded, tmp_path / "cache"]
    children = [subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "begins\n"
    deadline = time.monotonic() + 1  # the second one would ask within this time if nothing held it back
    while time.monotonic() < deadline and len(host.requests) < 2:
        time.sleep(0.02)
    host.release.set()
    said = [child.communicate()[0].strip() for child in children]
    assert said[0] == said[1] == str(releases.obtained("tool", "v1.0.0", tmp_path / "cache"))
    assert len(host.requests) == 1


def wait_for(found):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_the_host_does_not_give_is_built_instead(host, record, tmp_path, capsys, status):
    host.answers[PATH] = [Answer(status)]
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("! tool v1.0.0 is not downloaded but built from Go modules: 127.0.0.1:")
    assert line.endswith(f"answers {status} to {PATH}")
    assert len(host.requests) == 1  # another try would not change it
    assert releases.obtain("tool", "v1.0.0", tmp_path)  # and nothing is held against the host


def test_a_busy_server_is_asked_again(host, record, tmp_path):
    host.answers[PATH] = [Answer(503), Answer(429), Answer(500)]
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path)
    assert len(host.requests) == 4


def test_a_server_that_stays_busy_is_given_up_and_what_came_is_kept(host, record, tmp_path, capsys):
    host.answers[PATH] = [Answer(cut=100_000), *[Answer(503)] * 3]
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path) is None
    assert "does not deliver tool v1.0.0" in capsys.readouterr().err.splitlines()[-1]
    assert len(host.requests) == 4
    assert releases.obtain("tool", "v1.0.0", tmp_path)
    assert (host.requests[-1].range, host.requests[-1].sent) == ("bytes=100000-", 200_000)


def test_an_unreachable_host_is_asked_once_for_all_its_programs(host, record, tmp_path, monkeypatch, capsys):
    with ReleaseHost().running() as gone:
        monkeypatch.setenv("LAB_RELEASES_MIRROR", gone.url)
    tries = []
    fetch = download.fetch
    monkeypatch.setattr(download, "fetch", lambda *arguments: (tries.append(1), fetch(*arguments)))
    record({"tool": {v: {"amd64": file(PROGRAM, f"/{v}/tool")} for v in ("v1.0.0", "v1.1.0", "v1.2.0")}})
    assert [releases.obtain("tool", v, tmp_path) for v in ("v1.0.0", "v1.1.0", "v1.2.0")] == [None] * 3
    assert len(tries) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("cannot be reached (Connection refused)" in line for line in lines)


def test_offline_asks_nobody_and_says_what_happens_instead(host, record, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAB_OFFLINE", "1")
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path) is None
    assert capsys.readouterr().err == "! tool v1.0.0 is not downloaded but built from Go modules: LAB_OFFLINE is set\n"
    assert host.requests == []


@pytest.mark.parametrize(("name", "version"), [("tool", "v2.0.0"), ("other", "v1.0.0"), ("arm", "v1.0.0")])
def test_what_is_not_recorded_for_this_machine_is_built(host, record, tmp_path, capsys, name, version):
    record({**tool(), "arm": {"v1.0.0": {"arm64": file(PROGRAM)}}})
    assert releases.obtained(name, version, tmp_path) is None
    assert releases.obtain(name, version, tmp_path) is None
    assert "no release with a known checksum is recorded" in capsys.readouterr().err
    assert host.requests == []


def test_a_proxy_of_the_environment_is_used(host, record, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_RELEASES_MIRROR", "http://releases.invalid/mirror/")
    monkeypatch.setenv("HTTP_PROXY", host.url)
    host.files[f"/mirror{PATH}"] = PROGRAM
    record(tool())
    assert releases.obtain("tool", "v1.0.0", tmp_path)
    assert [r.path for r in host.requests] == [f"http://releases.invalid/mirror{PATH}"]


@pytest.mark.parametrize("mirror", ["example.org", "ftp://example.org", "http://[", "https://", "http://x:99999"])
def test_a_mirror_that_is_no_address_is_refused(host, record, tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("LAB_RELEASES_MIRROR", mirror)
    record(tool())
    with pytest.raises(HostError, match="LAB_RELEASES_MIRROR"):
        releases.obtain("tool", "v1.0.0", tmp_path)


def test_a_download_shows_how_far_it_is(host, record, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "_PROGRESS_SECONDS", 0.0)
    record(tool())
    releases.obtain("tool", "v1.0.0", tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("> downloading tool v1.0.0 from 127.0.0.1:")
    assert any(line.startswith("  tool v1.0.0: 100 %, 0.3 of 0.3 MiB, ") and line.endswith(" s left") for line in lines)


def test_progress_says_percent_amount_speed_and_time_left():
    said = download.progress("tool", 30 << 20, 120 << 20, 10 << 20)
    assert said == "tool: 25 %, 30.0 of 120.0 MiB, 10.0 MiB/s, 9 s left"
    assert download.progress("tool", 30 << 20, None, 10 << 20) == "tool: 30.0 MiB, 10.0 MiB/s"
    assert download.progress("tool", 0, 120 << 20, 0) == "tool: 0 %, 0.0 of 120.0 MiB, 0.0 MiB/s"


def test_the_newest_version_is_the_newest_by_number(host, record):
    versions = {v: {"amd64": file(PROGRAM)} for v in ("3.9.0", "3.10.1", "3.10.0")}
    record({"tool": {**versions, "4.0.0": {"arm64": file(PROGRAM)}}})
    assert releases.newest("tool") == "3.10.1"
    assert releases.newest("other") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"amd64": {"url": "https://dl.example.org/tool", "source": "x"}},
        {"amd64": {**file(b""), "sha512": "0" * 128}},
        {"amd64": {**file(b""), "sha256": "0" * 63}},
        {"amd64": {**file(b""), "url": "http://dl.example.org/tool"}},
        {"amd64": file(b""), "take": {"tool": "../tool"}},
        {"amd64": [file(b""), file(b"", "/other")], "take": {"tool": "tool"}},
        {"riscv64": file(b"")},
    ],
)
def test_a_wrong_record_is_refused_as_a_whole(record, wrong):
    record({"tool": {"v1.0.0": wrong}})
    with pytest.raises(ValidationError):
        releases.recorded()


@pytest.mark.parametrize(("machine", "words"), [("amd64", ("amd64", "x64")), ("arm64", ("arm64",))])
def test_what_is_recorded_has_the_programs_that_are_used(monkeypatch, machine, words):
    monkeypatch.setattr(go_modules, "architecture", lambda: machine)
    recorded = releases.recorded()
    every = [(version, release) for versions in recorded.values() for version, release in versions.items()]
    for version, release in every:
        assert release.files()
        for file in release.files():
            url = unquote(file.url)
            # the one of K3s for amd64 has no architecture in its name
            assert any(word in url for word in words) or (machine == "amd64" and url.endswith("/k3s"))
            assert version in url
    newest = recorded["pulumi"][releases.newest("pulumi")]
    assert set(newest.take.values()) >= {"pulumi", "pulumi-language-python", "pulumi-language-python-exec"}
    for name, programs in (("kubernetes", parts._KUBERNETES), ("containerd", parts._CONTAINERD), ("etcd", ("etcd",))):
        for release in recorded.get(name, {}).values():
            assert set(release.take.values() or (Path(f.url).name for f in release.files())) == set(programs)
