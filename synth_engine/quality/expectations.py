"""The expectations that staged tables have to meet, each with the rule in words."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth_engine.config import Validation
from synth_engine.quality.profile import ColumnProfile, Profile
from synth_engine.quality.staged import (
    FOUND,
    MISSING,
    ORPHAN,
    accepted_types,
    is_typed_as,
    labels_query,
    references_query,
    rows_query,
    shown,
    source_labels,
    source_range,
    types_query,
    written_categories,
)
from synth_engine.schema import Column, ForeignKey, PolymorphicKey, Schema, Table
from synth_engine.schema.model import MODELLED_KINDS
from synth_engine.schema.types import base_type

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported
import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

if TYPE_CHECKING:
    from sqlalchemy import Engine


Catalogue = Mapping[str, Mapping[str, str]]
"""Types by column by table, as `staged.catalogue` gives them."""


KEY_CHECKS = ("primary key", "unique key", "foreign key", "polymorphic reference")
"""The sorts of expectations that hold a key, one expectation a key."""


ORPHAN_TOLERANCE = 0.1
"""How far the share of orphans that are reproduced may be off, relative to itself."""


@dataclass(frozen=True)
class Suite:
    """Expectations on the result of one query; `aspect` says what of the table it shows."""

    table: str
    aspect: str
    query: str
    expectations: tuple[Expectation, ...]


def suites(
    engine: Engine,
    staging: str,
    schema: Schema,
    profile: Profile,
    expected_rows: Mapping[str, int],
    settings: Validation,
    staged: Catalogue,
) -> list[Suite]:
    """All suites of all tables that are `staged`. Columns that are absent, or of a type that cannot be compared, are left
    out of all others: the expectations on the list of columns and on the types fail in their place.

    Categories are named only if they are staged: expectations and queries are kept beside the synthetic tables."""
    sound = {
        n: {c.name for c in t.columns if c.name in staged.get(n, {}) and is_typed_as(c, staged[n][c.name])}
        for n, t in schema.tables.items()
    }
    found: list[Suite] = []
    for name, table in schema.tables.items():
        if name not in staged:
            continue
        rows, columns = expected_rows[name], [c for c in table.columns if c.name in sound[name]]
        keys = [k for k in table.foreign_keys if set(k.columns) <= sound[name] and set(k.parent_columns) <= sound[k.parent]]
        references = [
            k for k in table.polymorphic if {k.type_column, k.id_column} <= sound[name] and all(c in sound[p] for _, p, c in k.parents)
        ]
        known = profile.columns[name]
        categories = [c for c in columns if c.name in known and known[c.name].cells == "categories"]
        written = written_categories(engine, staging, table, categories)
        profiles = {
            c.name: known[c.name].naming_only(written.get(c.name, frozenset()))
            for c in columns
            if c.kind in MODELLED_KINDS and c.name in known
        }
        typed = [c for c in table.columns if c.name in staged[name] and accepted_types(c)]
        found.append(
            Suite(
                name,
                "rows",
                rows_query(engine, staging, table, staged[name]),
                tuple(_row_expectations(table, sound[name], profiles, rows, settings)),
            )
        )
        if profiles:
            slack = {c: len(known[c].weights) / max(rows, 1) for c in profiles}  # chance alone brings a divergence near cells / (2 rows)
            labelled = (
                _value_expectations(c, profiles[c.name], profile.rows[name], rows, settings, slack[c.name])
                for c in columns
                if c.name in profiles
            )
            query = labels_query(engine, staging, table, profiles)
            found.append(Suite(name, "values", query, tuple(itertools.chain.from_iterable(labelled))))
        if keys or references:
            query = references_query(engine, staging, schema, table, keys, references)
            held = (*(e for k in keys for e in _reference(table, k, rows)), *(_polymorphic(table, k) for k in references))
            found.append(Suite(name, "references", query, held))
        if typed:
            found.append(Suite(name, "types", types_query(engine, staging, table, typed), tuple(_type(c) for c in typed)))
    return found


def _row_expectations(
    table: Table, present: Set[str], profiles: Mapping[str, ColumnProfile], rows: int, settings: Validation
) -> list[Expectation]:
    slack = int(rows * settings.row_count_tolerance)
    found: list[Expectation] = [
        gxe.ExpectTableColumnsToMatchOrderedList(
            column_list=[shown(c) for c in table.column_names], meta=_rule("columns", "the columns are those of the schema, in its order")
        ),
        gxe.ExpectTableRowCountToBeBetween(
            min_value=rows - slack,
            max_value=rows + slack,
            meta=_rule("row count", f"the table has {rows} rows, give or take {settings.row_count_tolerance:.2%}"),
        ),
    ]
    required = [c.name for c in table.columns if c.name in present and (not c.nullable or c.name in table.primary_key)]
    found += [gxe.ExpectColumnValuesToNotBeNull(column=shown(name), meta=_rule("not null", f"{name} is never null")) for name in required]
    strings = [c.name for c in table.columns if base_type(c.data_type) == "string" and c.name not in table.key_columns]
    found += [_lengths(name, p.lengths) for name, p in profiles.items() if p.lengths and name in strings]
    keys = [("primary key", table.primary_key)] if table.primary_key else []
    keys += [("unique key", key) for key in table.unique]
    return found + [_unique(check, key) for check, key in keys if set(key) <= set(present)]


def _lengths(column: str, lengths: tuple[int, int]) -> Expectation:
    words = f"{column} is {lengths[0]} to {lengths[1]} characters long"
    return gxe.ExpectColumnValueLengthsToBeBetween(
        column=shown(column), min_value=lengths[0], max_value=lengths[1], meta=_rule("length", words)
    )


def _unique(check: str, key: tuple[str, ...]) -> Expectation:
    meta = _rule(check, f"{check} ({', '.join(key)}) holds no value twice")
    if len(key) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=shown(key[0]), meta=meta)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=[shown(c) for c in key], ignore_row_if="any_value_is_missing", meta=meta)


def _value_expectations(
    column: Column, profile: ColumnProfile, source_rows: int, rows: int, settings: Validation, slack: float
) -> list[Expectation]:
    labels = source_labels(column, profile)
    found: list[Expectation] = []
    if profile.cells != "presence":
        check, words = "categories", f"{column.name} holds only categories that are frequent in the source"
        if profile.cells == "bins":
            check, words = "range", f"{column.name} stays in the range {' to '.join(source_range(column, profile))}"
        found.append(gxe.ExpectColumnValuesToBeInSet(column=shown(column.name), value_set=list(labels), meta=_rule(check, words)))
    if source_rows and rows and (profile.cells != "presence" or column.nullable):
        bound = settings.distribution_distance + slack
        partition = {"values": list(labels), "weights": _smooth(profile.weights, source_rows)}
        words = f"{column.name} is distributed as in the source, to a divergence of {bound:.3g}"
        found.append(
            gxe.ExpectColumnKLDivergenceToBeLessThan(
                column=shown(column.name), partition_object=partition, threshold=bound, meta=_rule("distribution", words)
            )
        )
    return found


def _smooth(weights: Sequence[float], rows: int) -> list[float]:
    """Half a row more in every cell: one row in a cell that is empty in the source must not make the divergence infinite."""
    total = sum(weights) + 0.5 * len(weights) / rows
    return [(weight + 0.5 / rows) / total for weight in weights]


def _reference(table: Table, key: ForeignKey, rows: int) -> list[Expectation]:
    """Every row finds its parent; or, where orphans are reproduced, all but so many as should not, to a tenth or two of them."""
    words, label = f"foreign key ({', '.join(key.columns)}) finds its row in {key.parent}", key.label(table.name)
    if not key.orphan_share:
        return [gxe.ExpectColumnValuesToBeInSet(column=shown(label), value_set=[FOUND, MISSING], meta=_rule("foreign key", words))]
    slack = ORPHAN_TOLERANCE * key.orphan_share + 2 / max(rows, 1)
    fewest, most = max(key.orphan_share - slack, 0.0), min(key.orphan_share + slack, 1.0)
    found = gxe.ExpectColumnValuesToBeInSet(
        column=shown(label),
        value_set=[FOUND, MISSING],
        mostly=1 - most,
        meta=_rule("foreign key", f"{words}, but for at most {most:.3%} orphans"),
    )
    lost = gxe.ExpectColumnValuesToBeInSet(
        column=shown(label), value_set=[ORPHAN], mostly=fewest, meta=_rule("orphans", f"{words}, but for at least {fewest:.3%} orphans")
    )
    return [found, lost]


def _polymorphic(table: Table, key: PolymorphicKey) -> Expectation:
    words = f"polymorphic reference ({key.type_column}, {key.id_column}) finds its row in the table of its type: {', '.join(key.tables)}"
    meta = _rule("polymorphic reference", words)
    return gxe.ExpectColumnValuesToBeInSet(column=shown(key.label(table.name)), value_set=[FOUND, MISSING], meta=meta)


def _type(column: Column) -> Expectation:
    words = f"{column.name} has type {column.data_type}"
    return gxe.ExpectColumnValuesToBeInSet(column=shown(column.name), value_set=accepted_types(column), meta=_rule("type", words))


def _rule(check: str, words: str) -> dict[str, Any]:
    return {"check": check, "rule": words}
