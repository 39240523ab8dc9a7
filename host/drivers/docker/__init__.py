"""A stack as containers of plain Docker: `python -m host docker` takes its compose file as LAB_SPEC."""

from host.drivers.docker.driver import destroy, ensure, is_alive, prepare, stands, status

__all__ = ["destroy", "ensure", "is_alive", "prepare", "stands", "status"]
