"""The servers that a team has, on one machine and without containers: ``python -m infra.stack up``."""

from infra.stack.errors import StackError
from infra.stack.stack import Stack, Status

__all__ = ["Stack", "StackError", "Status"]
