"""How many rows the keys of a table leave room for: what can never be met is refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.model.keyplan import KeyPlan, optional_columns, plan_keys
from synth_engine.model.state import KeyModel, Model
from synth_engine.schema import Table


def require_parents(model: Model, rows: Mapping[str, int]) -> None:
    """Raise `ConfigurationError` with every table that is to have more `rows` than one of its keys leaves room for: without a
    parent, beyond one row a parent of a unique key, or beyond the combinations of parents that are unique together."""
    faults: list[SynthError] = []
    for name, table in model.tables.items():
        if name in model.skeletons or not rows[name]:
            continue
        declared = model.schema.tables[name]
        faults += [fault for key in table.keys if (fault := _of_key(name, declared, key, rows))]
        faults += _of_combinations(declared, plan_keys(model.schema, declared), rows)
    if faults:
        raise ConfigurationError(faults)


def _of_key(name: str, table: Table, key: KeyModel, rows: Mapping[str, int]) -> SynthError | None:
    parent, share = key.key.parent, 1 - key.null_share
    needed, parents = round(rows[name] * share), rows[parent]
    if parent == name or needed <= (parents if key.degrees.unique or not parents else needed):
        return None
    most = next(n for n in range(int((parents + 0.5) / share), -1, -1) if round(n * share) <= parents)
    refer = "each" if not optional_columns(table, key.key) else f"{share:.0%} of them"
    return SynthError(
        f"rows.{name}: key {key.key.label(name)} {'is unique, so no two rows share a parent' if parents else 'needs a parent'}",
        value=f"{rows[name]:,} rows of {name}, {refer} with a parent, for {parents:,} rows of {parent}; at most {most:,} are possible",
        advice=f"ask for {most:,} rows of {name} or fewer, or for {needed:,} rows of {parent} or more",
    )


def _of_combinations(table: Table, plan: KeyPlan, rows: Mapping[str, int]) -> Iterator[SynthError]:
    for unique in (table.primary_key, *table.unique):
        covering = _covering(unique, plan)
        if len(covering) < 2 or any(table.column(c).nullable for c in unique if c not in table.primary_key):
            continue  # along one key alone, or null as often as need be
        most = 1
        for i in covering:
            most *= rows[plan.keys[i].parent]
        if rows[table.name] > most:
            names = " or ".join(plan.keys[i].parent for i in covering)
            parents = [f"{rows[plan.keys[i].parent]:,} rows of {plan.keys[i].parent}" for i in covering]
            yield SynthError(
                f"rows.{table.name}: key {table.name}({', '.join(unique)}) is unique, so no combination of parents comes twice",
                value=f"{rows[table.name]:,} rows for {' by '.join(parents)}; at most {most:,} are possible",
                advice=f"ask for {most:,} rows of {table.name} or fewer, or for more of {names}",
            )


def _covering(unique: tuple[str, ...], plan: KeyPlan) -> list[int]:
    """Keys that together give all columns of a unique key, those that give most first; none if others have a part in it."""
    found: list[int] = []
    left = set(unique)
    while left:
        best = max(range(len(plan.keys)), key=lambda i: len(left.intersection(plan.keys[i].columns)), default=None)
        if best is None or not left.intersection(plan.keys[best].columns):
            return []
        left -= set(plan.keys[best].columns)
        found.append(best)
    return found
