"""The machine itself: system, processors, memory, cgroups, root rights."""

from __future__ import annotations

import re

from probes.doctor.subject import Subject, fail, ok, skipped, warn
from probes.nvidia import Layer

_LEAST_WSL_KERNEL = (5, 10, 43)  # facts of CUDA on WSL2: Microsoft's kernel from which GPUs are supported
_SLACK_GIB = 0.8  # between the memory that is sold and what Linux counts of it
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def system(subject: Subject) -> Layer:
    """Linux on a processor that the engine's images are made for; under WSL2 a kernel that passes GPUs on."""
    said = subject.machine.run(["uname", "-srm"]).output.strip()
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', subject.machine.read("/etc/os-release") or "", re.MULTILINE)
    evidence = ", ".join(part for part in (name[1] if name else "", said, "WSL2" if subject.wsl else "") if part)
    if not said.endswith(("x86_64", "aarch64")):
        return fail("system", evidence, "no image is made for this processor", "use a machine with x86_64 or aarch64")
    kernel = tuple(int(part) for part in re.findall(r"\d+", said)[:3])
    if subject.wsl and kernel < _LEAST_WSL_KERNEL:
        return fail("system", evidence, "this WSL2 kernel passes no GPU on to Linux", "in Windows: wsl --update")
    return ok("system", evidence)


def processors(subject: Subject) -> Layer:
    """As many as the plan counts on, and the instructions that vLLM needs where it runs on them."""
    text = subject.machine.read("/proc/cpuinfo") or ""
    count = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    line = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    flags = [flag for flag in _FLAGS if line and flag in line[1].split()]
    evidence = f"{count} processors" + (f", {', '.join(flags)}" if flags else "")
    plan = subject.plan
    if plan and plan.machine.kind == "cpu" and not {"avx2", "asimd"} & set(flags):
        cause = "vLLM's build for processors needs AVX2 (x86) or ASIMD (arm64)"
        return fail("processors", evidence, cause, "use a machine with a newer processor, or with an NVIDIA card")
    if plan and count < plan.machine.cpus:
        cause = f"the plan counts on {plan.machine.cpus}: pods would stay Pending"
        return warn("processors", evidence, cause, f"write machine.cpus: {count} into Pulumi.{plan.stack}.yaml")
    if plan and plan.machine.kind == "cpu" and "avx512f" not in flags and "asimd" not in flags:
        return warn("processors", evidence, "without AVX-512 vLLM answers several times more slowly", "nothing to type")
    return ok("processors", evidence)


def memory(subject: Subject) -> Layer:
    """As much RAM as the plan counts on, and enough of it free unless the stack runs already."""
    text = subject.machine.read("/proc/meminfo") or ""
    sizes = {key: int(value) / 2**20 for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total, free = sizes.get("MemTotal", 0.0), sizes.get("MemAvailable", 0.0)
    if not total:
        return skipped("memory", "/proc/meminfo cannot be read")
    evidence, plan = f"{free:.1f} of {total:.1f} GiB available", subject.plan
    if plan is None:
        return ok("memory", evidence)
    counted = plan.machine.linux_memory_gib
    if total + _SLACK_GIB < counted:
        file = f"Pulumi.{plan.stack}.yaml"
        wsl = f"write memory={counted:.0f}GB below [wsl2] in %UserProfile%\\.wslconfig; then in Windows: wsl --shutdown"
        other = f"write machine.memoryGiB: {int(total)} into {file}"
        return fail("memory", evidence, f"the plan counts on {counted:.1f} GiB", wsl if subject.wsl else other)
    need = next((budget.need for budget in plan.budgets if budget.name == "host memory"), 0.0)
    if free < need and not subject.serving:
        cause = f"the models may take {need:.1f} GiB while they load, and other programs have some of it"
        return warn("memory", evidence, cause, "ps -eo rss,comm --sort=-rss | head shows who: end what is not needed")
    return ok("memory", evidence)


def cgroups(subject: Subject) -> Layer:
    """Version 2, which new versions of Kubernetes ask for."""
    kind = subject.machine.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).output.strip()
    if kind == "cgroup2fs":
        return ok("cgroups", "version 2")
    if kind != "tmpfs":
        return skipped("cgroups", f"/sys/fs/cgroup: {kind or 'cannot be read'}")
    cause = "kubelets from 1.35 on refuse to start on cgroup version 1 unless they are told to"
    fix = "add kernelCommandLine = cgroup_no_v1=all below [wsl2] in %UserProfile%\\.wslconfig; then: wsl --shutdown"
    boot = "boot with systemd.unified_cgroup_hierarchy=1 (GRUB_CMDLINE_LINUX, sudo update-grub, reboot)"
    wanted = subject.kubernetes
    numbers = re.findall(r"\d+", wanted.kubernetes) if wanted else []
    strict = subject.driver != "embedded" and len(numbers) > 1 and (int(numbers[0]), int(numbers[1])) >= (1, 35)
    layer = fail if strict else warn
    return layer("cgroups", "version 1", cause, fix if subject.wsl else boot)


def systemd(subject: Subject) -> Layer:
    """What starts and keeps K3s; other drivers do without."""
    running = subject.machine.exists("/run/systemd/system")
    if running:
        return ok("systemd", "runs")
    if subject.driver != "k3s":
        return skipped("systemd", "does not run, and is not needed")
    wsl = "write systemd=true below [boot] in /etc/wsl.conf; then in Windows: wsl --shutdown"
    other = "boot the machine with systemd, or use another driver"
    return fail("systemd", "does not run", "K3s is a service of systemd", wsl if subject.wsl else other)


def root(subject: Subject) -> Layer:
    """Root rights, where the plan changes what belongs to root."""
    if subject.machine.run(["id", "-u"]).output.strip() == "0":
        return ok("root", "this is root")
    wanted = [change for change in subject.plan.host_changes if change.root] if subject.plan else []
    if subject.machine.run(["sudo", "-n", "true"]).ok:
        return ok("root", "sudo works without a password")
    if not subject.machine.run(["sudo", "-V"]).ok:
        layer = fail if wanted else warn
        return layer("root", "there is no sudo", "some changes need root rights", "run it as root, or install sudo")
    evidence = f"sudo asks for a password; {len(wanted)} changes need it" if wanted else "sudo asks for a password"
    return ok("root", evidence)
