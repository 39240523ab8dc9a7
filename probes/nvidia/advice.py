"""What to type for a driver, which the lab never installs: it belongs to the distribution, or to Windows."""

from __future__ import annotations

from typing import Final

from probes.nvidia.parse import System

_GUIDE: Final = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"
_INSTALL: Final = {
    "ubuntu": "sudo ubuntu-drivers install, then reboot",
    "debian": "sudo apt-get install nvidia-driver (component non-free), then reboot; a newer one: " + _GUIDE,
    "fedora": "sudo dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda (RPM Fusion), then reboot; or " + _GUIDE,
    "suse": f"{_GUIDE}; then reboot",
    "arch": "sudo pacman -S nvidia nvidia-utils, then reboot",
}
_UPDATE: Final = {
    "ubuntu": "sudo ubuntu-drivers install nvidia:VERSION (sudo ubuntu-drivers list shows which), then reboot",
    "debian": f"from NVIDIA's repository: {_GUIDE}; then reboot",
    "fedora": "sudo dnf upgrade akmod-nvidia, then reboot; or " + _GUIDE,
    "arch": "sudo pacman -Syu, then reboot",
}


def driver_words(system: System, *, wsl: bool) -> tuple[str, str]:
    """How the driver is installed, and how it is made newer; under WSL2 in Windows, and never in Linux."""
    if wsl:
        windows = "NVIDIA's newest driver in Windows, and none in Linux; then in Windows: wsl --shutdown"
        return windows, windows
    other = f"{_GUIDE}; then reboot"
    install = _INSTALL.get(system.name) or _INSTALL.get(system.family, other)
    update = _UPDATE.get(system.name) or _UPDATE.get(system.family, other)
    return install, update
