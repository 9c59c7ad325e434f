"""Exceptions, one for each status of the C API."""

from __future__ import annotations


class Error(Exception):
    """A failure of LightCap; `status` is the number of `lightcap_status` and the programs' exit code."""

    status = 8


class InputError(Error, ValueError):
    """A picture is missing, unreadable, malformed or over a limit."""

    status = 1


class UsageError(Error, ValueError):
    """An argument or option is wrong."""

    status = 2


class ModelError(Error, ValueError):
    """A .lcw file is missing, malformed or contradicts itself."""

    status = 3


class IsaError(Error, ValueError):
    """An instruction set is unknown, not built in or not supported by this CPU."""

    status = 5


class OutOfMemoryError(Error, MemoryError):
    """Memory ran out."""

    status = 6


class CancelledError(Error, TimeoutError):
    """A caption's time was over, or its stream was closed."""

    status = 10


class InternalError(Error, RuntimeError):
    """A bug in LightCap."""

    status = 8


# Tracebacks name them as users import them.
for _kind in (Error, InputError, UsageError, ModelError, IsaError, OutOfMemoryError, CancelledError, InternalError):
    _kind.__module__ = "lightcap"

BY_STATUS: dict[int, type[Error]] = {
    kind.status: kind
    for kind in (InputError, UsageError, ModelError, IsaError, OutOfMemoryError, CancelledError, InternalError)
}
