"""Records of running programs: found again, never mistaken, never lost to a kill."""

import os
import signal
import subprocess
import time

import pytest

from host.drivers.embedded import supervise
from host.drivers.embedded.supervise import Program, Running, Supervisor
from stacks.errors import HostError


@pytest.fixture
def kept(tmp_path):
    supervisor = Supervisor(tmp_path / "run", tmp_path / "logs", environment={"PATH": os.environ["PATH"]})
    yield supervisor
    supervisor.stop("sleeper", grace=0)


SLEEPER = Program("sleeper", ["sleep", "600"])


def test_a_started_program_is_found_by_another_supervisor(kept, tmp_path):
    running = kept.start(SLEEPER)
    assert Supervisor(tmp_path / "run", tmp_path / "logs").find("sleeper") == running
    assert kept.is_current(SLEEPER)
    assert 0 <= running.seconds < 5


def test_a_second_start_finds_the_first(kept):
    assert kept.start(SLEEPER) == kept.start(SLEEPER)


def test_a_pid_of_somebody_else_is_not_ours_and_is_not_killed(kept, tmp_path):
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        boot = open("/proc/sys/kernel/random/boot_id").read().strip()  # noqa: SIM115, PTH123
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "sleeper.pid").write_text(
            f"{stranger.pid} {supervise.start_time(stranger.pid) - 1} {boot}\n"
        )
        assert kept.find("sleeper") is None
        kept.stop("sleeper", grace=0)
        supervise.send(Running(stranger.pid, 1), signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()


def test_a_record_of_an_earlier_boot_does_not_count(kept, tmp_path):
    running = kept.start(SLEEPER)
    record = tmp_path / "run" / "sleeper.pid"
    whole = record.read_text()
    record.write_text(f"{running.pid} {running.started} another-boot\n")
    assert kept.find("sleeper") is None
    record.write_text(whole)


def test_a_zombie_does_not_count():
    child = subprocess.Popen(["/bin/true"])
    time.sleep(0.2)
    assert supervise.start_time(child.pid) is None
    child.wait()


def test_a_torn_record_is_no_record(kept, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sleeper.pid").write_text("12")
    assert kept.find("sleeper") is None


def test_other_arguments_files_or_environment_make_the_running_one_out_of_date(kept):
    kept.start(SLEEPER)
    assert not kept.is_current(Program("sleeper", ["sleep", "601"]))
    assert not kept.is_current(Program("sleeper", ["sleep", "600"], {"config": "new"}))
    kept.forget_digest("sleeper")
    assert not kept.is_current(SLEEPER)


def test_a_program_that_ignores_the_request_is_killed_in_time(kept):
    kept.start(Program("sleeper", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]))
    begin = time.monotonic()
    kept.stop("sleeper", grace=0.3)
    assert time.monotonic() - begin < 5
    assert kept.find("sleeper") is None


def test_a_launch_that_cannot_enter_its_cgroup_is_an_error_with_the_log(tmp_path):
    broken = Supervisor(
        tmp_path / "run", tmp_path / "logs", cgroups=[tmp_path / "missing"], environment={"PATH": os.environ["PATH"]}
    )
    with pytest.raises(HostError, match="missing"):
        broken.start(SLEEPER)


def test_the_launcher_writes_its_record_before_it_becomes_the_program(kept, tmp_path):
    probe = Program("sleeper", ["sh", "-c", f"cat '{tmp_path}/run/sleeper.pid' > '{tmp_path}/seen'; exec sleep 600"])
    running = kept.start(probe)
    for _ in range(100):
        if (tmp_path / "seen").exists() and (tmp_path / "seen").read_text():
            break
        time.sleep(0.02)
    assert (tmp_path / "seen").read_text().split()[0] == str(running.pid)
