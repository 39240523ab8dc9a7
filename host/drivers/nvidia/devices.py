"""The CDI specification, and the links of devices in /dev/char."""

from __future__ import annotations

from host.drivers.nvidia.host import Host, refused
from host.system import command
from host.system.progress import step

SPECIFICATION = "/var/run/cdi/nvidia.yaml"
RULE = "/etc/udev/rules.d/71-nvidia-dev-char.rules"
_RULES = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
_LINKS = ("nvidia-ctk", "system", "create-dev-char-symlinks", "--create-all")
_UNITS = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service")
# NVIDIA's own rule, from the troubleshooting page of the container toolkit
_RULE_TEXT = (
    "# Written by local-ai-lab: links in /dev/char for NVIDIA's devices, without which containers lose their GPU\n"
    f'ACTION=="add", DEVPATH=="/bus/pci/drivers/nvidia", RUN+="/usr/bin/{" ".join(_LINKS)}"\n'
)


def specification_needed(host: Host) -> bool:
    """Whether the specification is missing or stale, or the toolkit's own service for it is switched off."""
    layer = host.probe().cdi()
    return layer.state in ("warn", "fail") or (layer.state == "ok" and "disabled" in _refresh(host))


def make_specification(host: Host) -> None:
    """The specification names the cards of nvidia-smi afterwards: by the toolkit's service, or written once."""
    if not specification_needed(host):
        return
    with step("CDI specification"):
        host.record.made("cdi")
        if "disabled" in _refresh(host):
            command.run(["systemctl", "enable", "--now", *_UNITS], timeout=120)
            host.changed.append("nvidia-cdi-refresh enabled")
        if host.probe().cdi().state != "ok" and "enabled" in _refresh(host):
            command.run(["systemctl", "restart", _UNITS[1]], timeout=120, check=False)
            host.changed.append(SPECIFICATION)
        if host.probe().cdi().state != "ok":
            command.run(["nvidia-ctk", "cdi", "generate", f"--output={SPECIFICATION}"], timeout=120)
            host.changed.append(SPECIFICATION)
    layer = host.probe().cdi()
    if layer.state == "fail":
        raise refused(layer, "the specification was written, and ")


def links_needed(host: Host) -> bool:
    """Whether devices lack their link, or the rule that makes links at each start is missing."""
    probe = host.probe()
    return probe.links_matter and (probe.device_links().state == "warn" or not _has_rule(host))


def make_links(host: Host) -> None:
    """Links are there now and after each start."""
    if not links_needed(host):
        return
    with step("links in /dev/char"):
        if not _has_rule(host):
            host.write(RULE, _RULE_TEXT, "device-links")
        if host.probe().device_links().state != "ok":
            command.run(list(_LINKS), timeout=60)
            host.changed.append("/dev/char")
    layer = host.probe().device_links()
    if layer.state == "warn":
        raise refused(layer, "the links were made, and ")


def _has_rule(host: Host) -> bool:
    rules = (f"{folder}/{name}" for folder in _RULES for name in host.machine.names(folder))
    return any("create-dev-char-symlinks" in (host.machine.read(rule) or "") for rule in rules)


def _refresh(host: Host) -> set[str]:
    """What systemd says of the units that write the specification when a driver changes; toolkit 1.18 has them."""
    if not host.machine.exists("/run/systemd/system"):
        return set()
    return {host.machine.run(["systemctl", "is-enabled", unit]).output.strip() for unit in _UNITS}
