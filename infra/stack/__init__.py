"""Runs the servers of a team on one machine, without containers: ``python -m infra.stack up``."""

from infra.stack.errors import StackError
from infra.stack.stack import Stack, Status

__all__ = ["Stack", "StackError", "Status"]
