"""K3s as a service of the machine: the effects. The pure half is stacks/planning/clusters/k3s.py."""

from host.drivers.k3s.alive import is_alive
from host.drivers.k3s.driver import destroy, ensure, prepare, stands, status

__all__ = ["destroy", "ensure", "is_alive", "prepare", "stands", "status"]
