"""PostgreSQL's errors as ours: without details, which repeat values, and without the password."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from synth_engine.errors import SynthError, WarehouseError, WarehouseUnavailable

_TRANSIENT_STATES = ("08", "40", "53", "57P", "55P03", "58")
"""SQLSTATE prefixes that may pass: connection, serialization and deadlock, resources, shutdown, lock timeout, system."""
_PASSING = ("starting up", "shutting down", "too many", "connection slots", "recovery")


def translated(error: BaseException | None, url: sa.URL) -> SynthError:
    """The driver's error as one of ours."""
    state = getattr(error, "sqlstate", None)
    diagnostic = getattr(getattr(error, "diag", None), "message_primary", None)
    reason = " ".join((diagnostic or str(error)).replace(url.password or "\0", "***").split())
    unreachable = (
        state is None
        and isinstance(error, psycopg.OperationalError)
        and ("FATAL" not in reason or any(word in reason for word in _PASSING))
    )
    if unreachable or (state or "").startswith(_TRANSIENT_STATES):
        return WarehouseUnavailable(
            "PostgreSQL must answer, and give locks in time", value=reason, advice="try again when the server and the tables are free"
        )
    return WarehouseError("PostgreSQL must accept every statement", value=reason)


def unreadable(table: str, state: str | None) -> SynthError:
    """A read that failed; the driver's message is left out, since it may repeat a value."""
    found = f"SQLSTATE {state or 'unknown'}"
    if not state or state.startswith(_TRANSIENT_STATES):
        return WarehouseUnavailable(
            f"The connection must last while table {table!r} is read", value=found, advice="run the extract step again"
        )
    return WarehouseError(
        f"Table {table!r} must be readable as its schema says",
        value=found,
        advice="check the role's SELECT right, and run the reflect step again",
    )
