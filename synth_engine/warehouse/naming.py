"""Rules about names that every warehouse shares: unknown names, staging areas, the marker of our tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from synth_engine.errors import ConfigurationError, PublicationRefused, WarehouseError, nearest

MARKER = "synthetic data by airflow-provider-synth"
"""Every table this product publishes says so in its comment (a folder: in `.synth.json`)."""

_STAGING = re.compile(r"(?s).+__synth_stg_[0-9a-f]{8}")
_PUBLICATION = re.compile(re.escape(MARKER) + r", publication (?P<name>(?s:.+?__synth_stg_[0-9a-f]{8}))")


def marker(publication: str) -> str:
    """The comment of a table published from the staging area `publication`."""
    return f"{MARKER}, publication {publication}"


def is_ours(comment: str | None) -> bool:
    """Whether a table's comment says that this product made it."""
    return (comment or "").startswith(MARKER)


def publication_of(comment: str | None) -> str | None:
    """The staging area a table was published from, or None if it is not ours."""
    found = _PUBLICATION.match(comment or "")
    return found["name"] if found else None


def require_staging_name(name: str) -> None:
    """Staging areas are dropped without asking, so nothing else may be taken for one."""
    if not _STAGING.fullmatch(name):
        raise WarehouseError("A staging area must have the name that `staging_name` gives it", value=repr(name))


def unknown_names(what: str, where: str, wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    """One fault for every wanted name that is not known, with the names that look like it."""
    faults = []
    for name in wanted:
        if name in known:
            continue
        hint = nearest(name, known) or f"known are {_listed(known)}"
        faults.append(f"{what} {name!r} must exist in {where}. Next step: {hint}")
    return faults


def require_known(what: str, where: str, wanted: Iterable[str], known: Sequence[str]) -> None:
    """Raise `ConfigurationError` naming every wanted name that is not known."""
    faults = unknown_names(what, where, wanted, known)
    if faults:
        raise ConfigurationError(faults)


def refuse_source(where: str) -> PublicationRefused:
    """The target turned out to be the source."""
    return PublicationRefused("The target must not be the source", value=f"both are {where}", advice="choose another target schema")


def refuse_foreign(where: str, tables: Sequence[str]) -> PublicationRefused:
    """Tables of somebody else stand where ours would go."""
    return PublicationRefused(
        "Publishing replaces only tables that this product made",
        value=f"{where} holds {_listed(tables)} from elsewhere",
        advice="choose another target schema, or set publication.replace_foreign_tables",
    )


def refuse_view(where: str, views: Sequence[str]) -> PublicationRefused:
    """A view, which is never replaced, has the name of a table."""
    return PublicationRefused(
        "A view must not have the name of a table to be published", value=f"{where} has {_listed(views)}", advice="drop or rename it"
    )


def refuse_dependents(where: str, keys: Sequence[str]) -> PublicationRefused:
    """Tables outside the publication refer to tables inside it."""
    return PublicationRefused(
        "No table outside the publication may refer to a table that is replaced",
        value=f"{where} has the keys {_listed(keys)}",
        advice="drop those keys or tables, or include the tables in the run",
    )


def staging_missing(staging: str, where: str) -> WarehouseError:
    """There is nothing to publish, and it was not published before."""
    return WarehouseError(
        "A staging area must be loaded before it is published", value=f"{staging!r} is not in {where}", advice="run the load step again"
    )


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(n) for n in names[:most])
    return (shown or "none") + (f" and {len(names) - most} more" if len(names) > most else "")
