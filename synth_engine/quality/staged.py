"""SELECT statements that show a staged table to Great Expectations: its rows, its values as labels, its references, its types.

Great Expectations would write real bounds and fetched values into its results, and knows neither composite foreign keys
nor the types of a query. Labels solve all of it in one way: each column becomes a word such as `10 to 20`, `"DE"` or
`(missing)`, which can be checked against a set and counted into a distribution, in any warehouse and for any type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from synth_engine.quality.columns import NUMBER_TYPES, SECONDS_PER_DAY, moment_type
from synth_engine.quality.profile import MOST_CATEGORIES, Category, ColumnProfile
from synth_engine.schema import Column, ForeignKey, PolymorphicKey, Schema, Table
from synth_engine.schema.types import base_type, decimal_digits

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine, Select

MISSING, PRESENT = "(missing)", "(present)"
BELOW, ABOVE = "(below the range)", "(above the range)"
UNKNOWN, OTHER = "(not in the source)", "(another known value)"
FOUND, ORPHAN = "(found)", "(orphan)"

_SHOWN = str.maketrans(
    {'"': "\u2033", **{chr(c): chr(0x2400 + c) for c in range(32)}, "\x7f": "\u2421", "\u2028": "\u2424", "\u2029": "\u23ce"}
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TYPE_NAMES: dict[str, tuple[str, ...]] = {
    "boolean": ("boolean",),
    "int16": ("smallint", "tinyint", "utinyint"),
    "int32": ("integer", "usmallint"),
    "int64": ("bigint", "uinteger"),
    "float32": ("real", "float"),
    "float64": ("double precision", "double"),
    "date": ("date",),
    "time": ("time", "time without time zone"),
    "timestamp": ("timestamp", "timestamp without time zone", "timestamp_ns", "timestamp_ms", "timestamp_s"),
    "timestamptz": ("timestamp with time zone",),
    "string": ("character varying", "varchar", "text", "character", "bpchar"),
    "uuid": ("uuid",),
    "json": ("json", "jsonb"),
    "binary": ("bytea", "blob"),
}
"""What `information_schema.columns` calls each neutral type, in lower case. `decimal` is compared with its digits, or by
the source's own name."""


_COLUMNS = sa.table(
    "columns",
    *(
        sa.column(name)
        for name in (
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "data_type",
            "numeric_precision",
            "numeric_scale",
        )
    ),
    schema="information_schema",
)


def shown(name: str) -> str:
    """What a column is called in the results of the queries. Great Expectations cannot compute on names with quotation marks, tabs or
    line breaks: signs that look like them stand in their place."""
    return name.translate(_SHOWN)


def source_labels(column: Column, profile: ColumnProfile) -> tuple[str, ...]:
    """The labels of a column's cells in the order of `profile.weights`."""
    if profile.cells == "bins":
        bounds = [_text(b, column) for b in _bounds(profile)]
        return (*(f"{a} to {b}" for a, b in zip(bounds, bounds[1:], strict=False)), MISSING)
    if profile.cells == "categories":
        return (*(_category_label(c) for c in profile.own_categories), OTHER, MISSING)
    return (PRESENT, MISSING)


def source_range(column: Column, profile: ColumnProfile) -> tuple[str, str]:
    """Both ends of the range of a column of bins, as the labels spell them."""
    bounds = _bounds(profile)
    return _text(bounds[0], column), _text(bounds[-1], column)


def rows_query(engine: Engine, staging: str, table: Table, columns: Iterable[str]) -> str:
    """All rows as they are, of all `columns` that are staged."""
    staged: list[sa.Label[Any]] = [sa.column(sa.sql.quoted_name(name, True)).label(shown(name)) for name in columns]
    return _sql(engine, sa.select(*staged).select_from(_staged(staging, table)))


def labels_query(engine: Engine, staging: str, table: Table, profiles: dict[str, ColumnProfile]) -> str:
    """One label for each profiled column of each row."""
    staged = _staged(staging, table)
    return _sql(engine, sa.select(*(_label(staged.c[name], table.column(name), p).label(shown(name)) for name, p in profiles.items())))


def references_query(
    engine: Engine, staging: str, schema: Schema, table: Table, keys: Sequence[ForeignKey], polymorphic: Sequence[PolymorphicKey] = ()
) -> str:
    """For each foreign key and polymorphic reference of each row whether its parent is there. A key with a null in it refers to
    nothing, nor does an id that is null."""
    child = _staged(staging, table).alias("child")
    joined: Any = child
    labels = []
    for index, key in enumerate(keys):
        parent_table = _staged(staging, schema.tables[key.parent])
        # DISTINCT, so that a parent that stands there twice does not double its children.
        parent = sa.select(*(parent_table.c[c] for c in key.parent_columns)).distinct().subquery(f"parent{index}")
        pairs = list(zip(key.columns, key.parent_columns, strict=True))
        joined = joined.outerjoin(parent, sa.and_(*(child.c[a] == parent.c[b] for a, b in pairs)))
        labels.append(
            sa.case(
                (sa.or_(*(child.c[a].is_(None) for a in key.columns)), _word(MISSING)),
                (parent.c[key.parent_columns[0]].is_(None), _word(ORPHAN)),
                else_=_word(FOUND),
            ).label(shown(key.label(table.name)))
        )
    for index, reference in enumerate(polymorphic):
        found = []
        for place, (of, name, column) in enumerate(reference.parents):
            known = _staged(staging, schema.tables[name])
            parent = sa.select(known.c[column]).distinct().subquery(f"parent{index}of{place}")
            is_same = _spelled(child.c[reference.id_column], column, table, schema.tables[name], reference) == _spelled(
                parent.c[column], column, table, schema.tables[name], reference
            )
            is_typed = sa.cast(child.c[reference.type_column], sa.String) == _word(of)
            joined = joined.outerjoin(parent, sa.and_(is_typed, is_same))
            found.append((parent.c[column].is_not(None), _word(FOUND)))
        missing = (child.c[reference.id_column].is_(None), _word(MISSING))
        labels.append(sa.case(missing, *found, else_=_word(ORPHAN)).label(shown(reference.label(table.name))))
    return _sql(engine, sa.select(*labels).select_from(joined))


def _spelled(value: ColumnElement[Any], column: str, child: Table, parent: Table, reference: PolymorphicKey) -> ColumnElement[Any]:
    """An id or the key it refers to so that the two compare: as text, if they are of different types."""
    stored = (base_type(child.column(reference.id_column).data_type), base_type(parent.column(column).data_type))
    return sa.cast(value, sa.String) if stored[0] != stored[1] and "string" in stored else value


def types_query(engine: Engine, staging: str, table: Table, columns: Sequence[Column]) -> str:
    """One row: the type of each column as `catalogue` spells it."""
    chosen = [sa.func.max(sa.case((_COLUMNS.c.column_name == c.name, _spelled_type()))).label(shown(c.name)) for c in columns]
    return _sql(engine, sa.select(*chosen).where(*_here(staging), _COLUMNS.c.table_name == table.name))


def accepted_types(column: Column) -> list[str]:
    """The catalogue's names for a column's type; empty where any type is right."""
    digits, native = decimal_digits(column.data_type), (column.native_type or "").lower()
    if digits:  # the warehouse's own name may say less (`hugeint`, `numeric` of any length) or other digits (`numeric(2,4)`)
        return sorted({f"decimal({digits[0]},{digits[1]})", native.replace(" ", "").replace("numeric(", "decimal(")} - {""})
    known = TYPE_NAMES.get(base_type(column.data_type), ())
    own = native.partition("(")[0].strip()
    return sorted({*known, own} - {""}) if known else []


def catalogue(engine: Engine, staging: str) -> dict[str, dict[str, str]]:
    """The columns of every staged table in order, with their types in lower case, decimals with their digits."""
    query = sa.select(_COLUMNS.c.table_name, _COLUMNS.c.column_name, _spelled_type()).where(*_here(staging))
    found: dict[str, dict[str, str]] = {}
    with engine.connect() as connection:
        for table, column, spelled in connection.execute(query.order_by(_COLUMNS.c.table_name, _COLUMNS.c.ordinal_position)):
            found.setdefault(table, {})[column] = spelled
    return found


def written_categories(engine: Engine, staging: str, table: Table, columns: Sequence[Column]) -> dict[str, frozenset[object]]:
    """The distinct values of each column as staged. One more than a profile can know is read at most: a column with so
    many holds an unknown one."""
    staged = _staged(staging, table)
    found: dict[str, frozenset[object]] = {}
    with engine.connect() as connection:
        for column in columns:
            value = staged.c[column.name]
            query = sa.select(value).where(value.is_not(None)).distinct().limit(MOST_CATEGORIES + 1)
            found[column.name] = frozenset(connection.execute(query).scalars())
    return found


def is_typed_as(column: Column, spelled: str) -> bool:
    """Whether the catalogue's name is one for the column's type."""
    accepted = accepted_types(column)
    return not accepted or spelled in accepted


def _here(staging: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _COLUMNS.c.table_catalog == sa.func.current_database(), _COLUMNS.c.table_schema == staging


def _spelled_type() -> ColumnElement[str]:
    spelled, precision, scale = sa.func.lower(_COLUMNS.c.data_type), _COLUMNS.c.numeric_precision, _COLUMNS.c.numeric_scale
    digits = sa.func.concat(_word("decimal("), precision, _word(","), scale, _word(")"))
    return sa.case((sa.and_(sa.or_(spelled == "numeric", spelled.like("decimal%")), precision.is_not(None)), digits), else_=spelled)


def _staged(staging: str, table: Table) -> sa.TableClause:
    quoted = sa.sql.quoted_name
    return sa.table(quoted(table.name, True), *(sa.column(quoted(c.name, True)) for c in table.columns), schema=quoted(staging, True))


def _label(value: ColumnElement[Any], column: Column, profile: ColumnProfile) -> ColumnElement[str]:
    missing = (value.is_(None), _word(MISSING))
    labels = source_labels(column, profile)
    if profile.cells == "bins":
        bounds = _bounds(profile)
        inner = [(value < _literal(b, column), _word(label)) for b, label in zip(bounds[1:-1], labels, strict=False)]
        below, last = (value < _literal(bounds[0], column), _word(BELOW)), (value <= _literal(bounds[-1], column), _word(labels[-2]))
        return sa.case(missing, below, *inner, last, else_=_word(ABOVE))
    if profile.cells == "categories":
        own = [(value == sa.literal(c), _word(_category_label(c))) for c in profile.own_categories]
        joint = [sa.literal(c) for c in profile.joint_categories]
        others = [(value.in_(joint), _word(OTHER))] if joint else []
        return sa.case(missing, *own, *others, else_=_word(UNKNOWN))
    return sa.case(missing, else_=_word(PRESENT))


def _bounds(profile: ColumnProfile) -> list[float]:
    if profile.low is None or profile.high is None:
        raise ValueError("a profile of bins has both bounds")
    return [profile.low, *profile.edges, profile.high]


def _category_label(value: Category) -> str:
    return json.dumps(value, ensure_ascii=False)


def _word(text: str) -> ColumnElement[str]:
    return sa.literal(text, sa.String)


def _literal(value: float, column: Column) -> ColumnElement[Any]:
    if moment_type(column) and base_type(column.data_type) in NUMBER_TYPES:
        return sa.literal(int(_text(value, column).replace("-", "")))
    if moment_type(column):
        return sa.literal(_text(value, column), sa.String)  # an untyped literal, which takes the type of the column it meets
    return sa.literal(int(value) if value.is_integer() else value)


def _text(value: float, column: Column) -> str:
    moment_is = moment_type(column)
    if moment_is == "time":
        return time.max.isoformat() if value >= SECONDS_PER_DAY else (_EPOCH + timedelta(seconds=value)).time().isoformat()
    if moment_is:
        moment = _EPOCH + timedelta(seconds=value)
        if moment_is == "date":
            return moment.date().isoformat()
        return (moment if moment_is == "timestamptz" else moment.replace(tzinfo=None)).isoformat(" ", "seconds")
    return f"{value:.10g}"


def _sql(engine: Engine, query: Select[Any]) -> str:
    """The statement as text that survives `sqlalchemy.text`, through which Great Expectations sends it.

    Compiled without the driver's parameter style, or percent signs would be doubled twice; colons are escaped, or
    `text` would take what follows them for a parameter.
    """
    make_dialect: Any = type(engine.dialect)
    dialect = make_dialect(paramstyle="named")
    dialect._backslash_escapes = False  # Postgres' default since 9.1; a dialect that never connected assumes the opposite
    compiled = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return re.sub(r"(?<!:):(?=[\w$])", r"\\:", compiled)
