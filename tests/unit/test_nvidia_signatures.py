"""Every failure that the research names (facts: gpu-enablement 1.3 and 6, field-reports) has its cause and its fix.

Each sentence is as the program prints it; the thread or source beside its signature is where it was read.
"""

from __future__ import annotations

import pytest

from probes.diagnosis import explain
from probes.diagnosis.nvidia import UNKNOWN, classify_log
from probes.diagnosis.nvidia_signatures import BY_IDENT, NVIDIA

DAEMON = "docker: Error response from daemon: "
# sentence -> (signature, words of the cause, words of the fix)
PRINTED: dict[str, tuple[str, str, str]] = {
    # L0 driver
    "bash: nvidia-smi: command not found": ("no-driver", "no NVIDIA driver", "install it"),
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.": ("driver-not-loaded", "module is not loaded", "reboot"),
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.65": (
        "driver-mismatch", "old kernel module is still loaded", "reboot",
    ),
    "No devices were found": ("no-card", "finds no card", "dmesg"),
    # L1 toolkit
    "bash: nvidia-ctk: command not found": ("toolkit-missing", "not installed", "./lab up"),
    "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/libnvidia-container/"
    "stable/deb/amd64/ /: /usr/share/keyrings/nvidia-container-toolkit-keyring.gpg != ": (
        "apt-signed-by", "different keys", "remove the older one",
    ),
    "W: GPG error: https://nvidia.github.io/libnvidia-container/stable/deb/amd64  InRelease: The following signatures "
    "couldn't be verified because the public key is not available: NO_PUBKEY DDCAE044F796ECB0": (
        "apt-no-key", "no key", "remove the list",
    ),
    "E: dpkg was interrupted, you must manually run 'sudo dpkg --configure -a' to correct the problem.": (
        "dpkg-interrupted", "was killed", "dpkg --configure -a",
    ),
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)": (
        "apt-locked", "another program installs", "wait",
    ),
    "E: Held packages were changed and -y was used without --allow-change-held-packages.": (
        "apt-held", "held at their version", "apt-mark unhold",
    ),
    "! gpg: cannot open '/dev/tty': No such device or address": ("minikube-toolkit-again", "1.32", "install minikube"),
    "X Exiting due to RUNTIME_ENABLE: Failed to enable container runtime: sudo systemctl restart docker": (
        "minikube-toolkit-again", "1.32", "install minikube",
    ),
    "level=error msg=\"failed to create application profiles directory: mkdirat etc/nvidia/nvidia-application-profiles-"
    "rc.d: read-only file system\"": ("toolkit-1.20.0", "read-only", "install another release"),
    # L2 Docker
    "bash: docker: command not found": ("no-docker", "not installed", "install it"),
    "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": (
        "docker-down", "does not run", "systemctl start docker",
    ),
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock": (
        "docker-denied", "may not use Docker", "usermod",
    ),
    "unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid character '}'": (
        "daemon-json", "not valid JSON", "json.tool",
    ),
    f'{DAEMON}could not select device driver "" with capabilities: [[gpu]].': (
        "no-gpu-driver", "without the NVIDIA container toolkit", "restart docker",
    ),
    f"{DAEMON}unknown or invalid runtime name: nvidia.": ("runtime-missing", "does not know", "runtime=docker"),
    f"{DAEMON}Unknown runtime specified nvidia.": ("runtime-missing", "does not know", "runtime=docker"),
    f"{DAEMON}failed to discover GPU vendor from CDI: no known GPU vendor found": (
        "gpu-vendor", "no specification", "nvidia-cdi-refresh",
    ),
    f"{DAEMON}CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all": (
        "cdi-unresolvable", "does not have nvidia.com/gpu=all", "nvidia-cdi-refresh",
    ),
    "failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=2": (
        "cdi-unresolvable", "does not have nvidia.com/gpu=2", "nvidia-ctk cdi generate",
    ),
    'failed to inject devices: failed to stat CDI host device "/dev/dri/card0": no such file or directory': (
        "cdi-device-gone", "no longer there", "nvidia-cdi-refresh",
    ),
    "error during container init: failed to fulfil mount request: open /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.14: "
    "no such file or directory": ("cdi-files-gone", "earlier driver", "nvidia-cdi-refresh"),
    "failed to fulfil mount request: open /run/nvidia-persistenced/socket: no such file or directory": (
        "cdi-files-gone", "earlier driver", "nvidia-cdi-refresh",
    ),
    "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update your driver": (
        "cuda-requirement", "older than the image's CUDA", "",
    ),
    "nvidia-container-cli: mount error: failed to add device rules: unable to generate new device filter program from "
    "existing programs: load program: invalid argument: last insn is not an exit or jmp": (
        "bpf", "hardening of BPF", "bpf_jit_harden",
    ),
    "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object "
    "file": ("no-nvml", "libraries cannot be found", "/usr/lib/wsl/lib"),
    "Failed to initialize NVML: Insufficient Permissions": ("selinux", "SELinux", "label=disable"),
    "nvidia-container-cli: device error: 3: unknown device": (
        "nvidia-container-cli", "could not set up the container: device error", "nvidia-smi must work",
    ),
    "time=\"2026-05-01T10:00:00Z\" level=info msg=\"Found 0 CDI devices\"": (
        "cdi-missing", "no CDI specification", "nvidia-cdi-refresh",
    ),
    "Failed to initialize NVML: Unknown Error": ("gpu-lost", "lost its GPU", "create-dev-char-symlinks"),
    # L3, L4 node
    "X Exiting due to MK_USAGE: The gpus flag can only be used with the docker driver and docker container-runtime": (
        "minikube-gpus-flag", "--container-runtime=docker", "minikube delete",
    ),
    'Failed to create pod sandbox: rpc error: code = Unknown desc = no runtime for "nvidia" is configured': (
        "k3s-before-toolkit", "before the container toolkit", "systemctl restart k3s",
    ),
    "fork/exec /usr/local/nvidia/toolkit/nvidia-container-runtime: no such file or directory": (
        "stale-runtime-path", "not there any more", "remove /usr/local/nvidia/toolkit",
    ),
    'pods "vllm-0" is forbidden: pod rejected: RuntimeClass "nvidia" not found': (
        "no-runtime-class", "no RuntimeClass nvidia", "restart k3s",
    ),
    # L5 device plugin
    "E0521 main.go:173] error starting plugins: Incompatible strategy detected auto": (
        "node-without-gpu-or-runtime", "sees no GPU", "layer `node`",
    ),
    "Incompatible platform detected\nIf this is a GPU node, did you configure the NVIDIA Container Toolkit?": (
        "node-without-gpu-or-runtime", "sees no GPU", "layer `node`",
    ),
    "Unsupported platform detected; defaulting to nvml\nfailed to initialize NVML: ERROR_LIBRARY_NOT_FOUND": (
        "node-without-gpu-or-runtime", "not started by the NVIDIA runtime", "runtimeClassName",
    ),
    "I0521 main.go:317] No devices found. Waiting indefinitely.": (
        "node-without-gpu-or-runtime", "the node has none", "layer `node`",
    ),
    "error: invalid device discovery strategy wsl": ("plugin-strategy", "auto, nvml and tegra", "deviceDiscovery"),
    "error validating flags: using MPS requires --mps-root to be specified": ("mps-root", "MPS needs", "time-slicing"),
    # L7
    "UnexpectedAdmissionError: Allocate failed due to rpc error: request for 'nvidia.com/gpu: 2' too large: maximum "
    "request size for shared resources is 1": ("shared-request", "more than one share", "nvidia.com/gpu: 1"),
}  # fmt: skip

# what the pod and engine tables know already: one diagnosis, and `explain` is its door
ELSEWHERE: dict[str, tuple[str, str]] = {
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.": ("no GPU is free", "Allocatable"),
    "UnexpectedAdmissionError: Allocate failed due to requested number of devices": ("could not give", "wait"),
    "The NVIDIA driver on your system is too old (found version 12020).": ("older than the image", "newer"),
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable": ("exclusively", "nvidia-smi"),
    "RuntimeError: No platform detected, vLLM is running on UnspecifiedPlatform": ("sees no GPU", "nvidia.com/gpu"),
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda "
    "driver combination": ("compat libraries", "LD_LIBRARY_PATH"),
    "ValueError: Free memory on device cuda:0 (1.52/23.52 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 21.17 GiB).": ("1.52 of 23.52 GiB are free", "who holds the rest"),
    "RuntimeError: UVA is not available": ("pinned memory", "PIN_MEMORY"),
    "PermissionError: [Errno 13] Permission denied: '/.cache'": ("outside /tmp", "environment"),
    "The node was low on resource: ephemeral-storage. Threshold quantity: 1": ("short of disk", "free disk"),
    "Liveness probe failed: connection refused": ("health check", "logs"),
}  # fmt: skip

# states that print nothing: each is produced in test_nvidia_probes.py
SEEN = {
    "nouveau", "wsl-no-dxg", "wsl-no-driver", "driver-old", "fewer-cards", "toolkit-old", "docker-old",
    "docker-desktop-linux", "docker-rootless", "runtime-not-restarted", "runtime-path", "containerd-template",
    "cdi-stale", "links-missing", "minikube-no-gpu", "node-runtime", "no-plugin", "two-plugins", "plugin-not-wanted",
    "old-addon", "plugin-not-ready", "plugin-silent", "none-allocatable", "fewer-allocatable", "cuda-no-card",
}  # fmt: skip


@pytest.mark.parametrize("text", PRINTED)
def test_a_sentence_gives_one_signature_with_cause_and_fix(text: str) -> None:
    ident, cause, fix = PRINTED[text]
    around = f"I0101 starting\n{text}\nI0101 over\n"
    assert classify_log(around).ident == ident
    found = explain(around)
    assert cause in found.what
    assert fix in found.remedy
    assert "{" not in found.filled(stack="box", pod="vllm-0", namespace="models").remedy
    assert text.splitlines()[0][:40] in found.evidence or found.evidence in text


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_other_tables_know_is_found_through_the_same_door(text: str) -> None:
    cause, fix = ELSEWHERE[text]
    assert classify_log(text).ident == UNKNOWN
    found = explain(text)
    assert cause in found.what and fix in found.remedy


def test_every_signature_is_tried_and_complete() -> None:
    assert {ident for ident, _, _ in PRINTED.values()} | SEEN | {"wsl-libdxcore"} == set(BY_IDENT)
    assert len(BY_IDENT) == len(NVIDIA)
    for signature in NVIDIA:
        assert signature.what and signature.remedy and signature.source, signature.ident
        assert signature.texts or signature.seen, signature.ident
        assert not signature.texts or signature.ident not in SEEN, signature.ident


def test_no_text_belongs_to_two_signatures() -> None:
    texts = [text for signature in NVIDIA for text in signature.texts]
    assert len(texts) == len(set(texts))
    for text in texts:
        owners = {s.ident for s in NVIDIA if not s.wsl for t in s.texts if t in text}
        assert classify_log(text, wsl=True).ident in {s.ident for s in NVIDIA if text in s.texts}, (text, owners)


PLUGIN_ON_A_NODE_WITHOUT_GPU = (
    'E1 main.go:132] "Incompatible strategy detected auto"\nI1 main.go:317] "No devices found. Waiting indefinitely."\n'
)


def test_two_lines_of_a_plugin_on_a_node_without_a_gpu() -> None:
    assert classify_log(PLUGIN_ON_A_NODE_WITHOUT_GPU).ident == "node-without-gpu-or-runtime"


def test_under_wsl2_with_nvml_not_supported_it_is_libdxcore() -> None:
    log = f"{PLUGIN_ON_A_NODE_WITHOUT_GPU}E1 factory.go] Failed to initialize NVML: Not Supported.\n"
    assert classify_log(log, wsl=True).ident == "wsl-libdxcore"
    assert classify_log(PLUGIN_ON_A_NODE_WITHOUT_GPU, wsl=True).ident == "node-without-gpu-or-runtime"
    assert classify_log(log).ident == "node-without-gpu-or-runtime"


def test_case_counts_and_an_unknown_log_keeps_its_last_twenty_lines() -> None:
    assert classify_log("failed to initialize nvml: unknown error").ident == UNKNOWN
    log = "\n".join(f"line {number}" for number in range(30))
    found = classify_log(log)
    assert (found.ident, found.evidence.splitlines()[0], len(found.evidence.splitlines())) == (UNKNOWN, "line 10", 20)
    assert explain(log).what == "unknown"
