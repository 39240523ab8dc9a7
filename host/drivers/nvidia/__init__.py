"""What the machine itself needs before containers can use its GPUs: `python -m host nvidia ensure|status|destroy`.

Each layer is looked at first (probes/nvidia) and changed only where it differs. The driver is never installed.
"""

from host.drivers.nvidia.driver import destroy, ensure, status

__all__ = ["destroy", "ensure", "status"]
