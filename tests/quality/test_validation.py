"""Great Expectations passes a good staged set, and each of eighteen ways to spoil a table is caught and named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

from synth_engine.config import Privacy, Validation
from synth_engine.quality.profile import profile
from synth_engine.quality.staged import is_typed_as
from synth_engine.quality.validation import DOCS, ValidationOutcome, validate_staged
from synth_engine.schema import Column, ForeignKey, Kind, PolymorphicKey, Schema, Table
from synth_engine.schema.types import to_arrow

STAGING = "Synth Stg"
CANARY = "canary-value-of-nobody"


def arrow(table: Table, frame) -> pa.Table:
    names = list(table.column_names)
    return pa.table([pa.Array.from_pandas(frame[c.name]).cast(to_arrow(c.data_type)) for c in table.columns], names=names)


@contextmanager
def duckdb_engine(tables: Mapping[str, pa.Table]) -> Iterator[sa.Engine]:
    """An in-memory database with the tables staged, as a folder's warehouse offers it."""
    engine = sa.create_engine("duckdb:///:memory:")

    @sa.event.listens_for(engine, "after_cursor_execute")
    def fetch_at_once(conn, cursor, statement, parameters, context, executemany):
        if cursor.description:
            context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(cursor, initial_buffer=cursor.fetchall())

    quote = engine.dialect.identifier_preparer.quote_identifier
    with engine.connect() as connection:
        connection.execute(sa.schema.CreateSchema(STAGING))
        driver = connection.connection.dbapi_connection
        for name, table in tables.items():
            driver.register("incoming", table)
            connection.exec_driver_sql(" ".join(["create table", f"{quote(STAGING)}.{quote(name)}", "as from incoming"]))
        connection.commit()
    yield engine
    engine.dispose()


def validated(schema: Schema, profiled: Mapping[str, pa.Table], staged: Mapping[str, pa.Table], folder: Path) -> ValidationOutcome:
    known = profile(schema, {name: table.to_batches for name, table in profiled.items()}, Privacy())
    expected = {name: profiled[name].num_rows for name in schema.tables}
    with duckdb_engine(staged) as engine:
        return validate_staged(engine, STAGING, schema, known, expected, Validation(), str(folder))


@pytest.fixture(scope="module")
def good(shop, tmp_path_factory) -> tuple[ValidationOutcome, Path]:
    folder = tmp_path_factory.mktemp("good")
    real, twin = ({n: arrow(t, frames[n]) for n, t in shop.schema.tables.items()} for frames in (shop.real, shop.frames(7)))
    known = profile(shop.schema, {name: table.to_batches for name, table in real.items()}, Privacy())
    with duckdb_engine(twin) as engine:
        expected = {name: table.num_rows for name, table in twin.items()}
        return validate_staged(engine, STAGING, shop.schema, known, expected, Validation(), str(folder)), folder


def test_a_good_twin_passes_every_sort_of_check(good):
    outcome, _ = good
    assert outcome.passed, outcome.failures
    sorts = {"columns", "row count", "not null", "primary key", "unique key", "foreign key", "type", "range", "categories", "length"}
    assert set(outcome.checks) == sorts | {"distribution"}
    assert outcome.expectations == sum(outcome.checks.values())


def test_only_keys_that_were_looked_at_count_as_checked(good, shop, tmp_path):
    assert good[0].keys_checked == 7
    real = {n: arrow(t, shop.real[n]) for n, t in shop.schema.tables.items()}
    staged = {**real, "orders": real["orders"].drop_columns(["customer_id"])}
    outcome = validated(shop.schema, real, staged, tmp_path)
    assert outcome.keys_checked == outcome.to_dict()["keys_checked"] == 6


def test_data_docs_are_kept_without_a_connection_string(good):
    _, folder = good
    assert (folder / DOCS).stat().st_size > 1000
    settings = (folder / "gx" / "great_expectations.yml").read_text()
    assert "duckdb" not in settings and "analytics_enabled: false" in settings


@pytest.mark.parametrize(
    ("data_type", "native", "spelled"),
    [
        ("decimal(10,2)", None, "decimal(10,2)"),
        ("decimal(38,0)", "HUGEINT", "hugeint"),
        ("decimal(38,0)", "HUGEINT", "decimal(38,0)"),
        ("decimal(20,0)", "UBIGINT", "ubigint"),
        ("decimal(38,9)", "numeric", "numeric"),
        ("decimal(4,4)", "numeric(2,4)", "decimal(2,4)"),
    ],
)
def test_a_decimal_may_be_staged_under_the_source_s_own_name(data_type, native, spelled):
    assert is_typed_as(Column("x", Kind.DECIMAL, data_type, native_type=native), spelled)


def test_a_decimal_of_other_digits_or_of_none_is_another_type():
    column = Column("x", Kind.DECIMAL, "decimal(10,2)", native_type="numeric(10,2)")
    assert not any(is_typed_as(column, spelled) for spelled in ("decimal(11,2)", "numeric", "hugeint", "double"))


class Fetched(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "srcset", "data") or (k == "href" and tag != "a")]


def test_data_docs_fetch_nothing_and_run_no_script_when_they_are_opened(good):
    _, folder = good
    pages = sorted((folder / DOCS).parent.rglob("*.html"))
    assert len(pages) > 5
    for page in pages:
        text = page.read_text()
        assert not [a for a in Fetched(text).addresses if "//" in a], page
        assert "<script" not in text
        assert "Content-Security-Policy" in text
    for styled in (*pages, *(folder / DOCS).parent.rglob("*.css")):
        assert not re.search(r"url\(.?(https?:)?//|@import", styled.read_text()), styled


def test_the_first_page_of_the_data_docs_leads_to_all_others(good):
    _, folder = good
    site = (folder / DOCS).parent
    linked = {unquote(address) for address in re.findall(r'<li><a href="([^"]+)"', (folder / DOCS).read_text())}
    assert linked == {str(page.relative_to(site)) for page in site.rglob("*.html")} - {"index.html"}


@dataclass(frozen=True)
class Corruption:
    spoil: Callable[[pa.Table], pa.Table]
    says: str
    count: int | None


def put(name: str, values: Callable[[list], list]) -> Callable[[pa.Table], pa.Table]:
    """Replace the values of one column."""

    def spoil(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        return table.set_column(index, name, pa.array(values(table[name].to_pylist()), table.schema.field(name).type))

    return spoil


def first(count: int, value: object) -> Callable[[list], list]:
    return lambda values: [value] * count + values[count:]


COLUMNS_RULE = "the columns are those of the schema, in its order"


def cast(name: str, to: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, table[name].cast(to))


CORRUPTIONS = {
    "duplicate primary key": Corruption(put("id", lambda v: [v[1], *v[1:]]), "primary key (id) holds no value twice", 2),
    "null primary key": Corruption(put("id", first(3, None)), "id is never null", 3),
    "duplicate unique value": Corruption(put("code", lambda v: [v[1], *v[1:]]), "unique key (code) holds no value twice", 2),
    "duplicate unique pair": Corruption(
        lambda t: put("slot", lambda v: [v[1], *v[1:]])(put("room", lambda v: [v[1], *v[1:]])(t)),
        "unique key (room, slot) holds no value twice",
        2,
    ),
    "orphan": Corruption(put("hall", first(4, 999)), "foreign key (hall) finds its row in halls", 4),
    "orphan of a composite key": Corruption(put("seat", first(2, 77)), "foreign key (row, seat) finds its row in seats", 2),
    "null where none is allowed": Corruption(put("price", first(6, None)), "price is never null", 6),
    "missing column": Corruption(lambda t: t.drop_columns(["price"]), COLUMNS_RULE, None),
    "extra column": Corruption(lambda t: t.append_column("extra", t["id"]), COLUMNS_RULE, None),
    "columns in another order": Corruption(lambda t: t.select(t.column_names[::-1]), COLUMNS_RULE, None),
    "wrong type": Corruption(cast("price", pa.string()), "price has type decimal(8,2)", 1),
    "wrong scale": Corruption(cast("price", pa.decimal128(9, 3)), "price has type decimal(8,2)", 1),
    "too few rows": Corruption(lambda t: t.slice(0, 380), "the table has 400 rows, give or take 1.00%", None),
    "out of range": Corruption(put("price", first(5, 90_000)), "price stays in the range 0 to", 5),
    "unknown category": Corruption(put("sort", first(7, CANARY)), "sort holds only categories that are frequent in the source", 7),
    "shifted distribution": Corruption(
        put("price", lambda v: [x if x > 30 else x + 30 for x in v]), "price is distributed as in the source", None
    ),
    "overlong text": Corruption(put("code", first(1, "x" * 90)), "code is 0 to 10 characters long", 1),
    "lost nulls": Corruption(put("hall", lambda v: [x or 1 for x in v]), "hall is distributed as in the source", None),
}


def show(name: str) -> Table:
    return Table(
        name,
        (
            Column("id", Kind.IDENTIFIER, "int64", nullable=False),
            Column("code", Kind.TEXT, "string"),
            Column("room", Kind.INTEGER, "int32"),
            Column("slot", Kind.INTEGER, "int32"),
            Column("hall", Kind.IDENTIFIER, "int64"),
            Column("row", Kind.INTEGER, "int32"),
            Column("seat", Kind.INTEGER, "int32"),
            Column("price", Kind.DECIMAL, "decimal(8,2)", nullable=False),
            Column("sort", Kind.CATEGORY, "string"),
        ),
        primary_key=("id",),
        unique=(("code",), ("room", "slot")),
        foreign_keys=(ForeignKey(("hall",), "halls", ("id",)), ForeignKey(("row", "seat"), "seats", ("row", "seat"))),
    )


def parents() -> tuple[list[Table], dict[str, pa.Table]]:
    halls = Table("halls", (Column("id", Kind.IDENTIFIER, "int64", nullable=False),), primary_key=("id",))
    pair = (Column("row", Kind.INTEGER, "int32", nullable=False), Column("seat", Kind.INTEGER, "int32", nullable=False))
    seats = Table("seats", pair, primary_key=("row", "seat"))
    rows = [(r, s) for r in range(10) for s in range(10)]
    return [halls, seats], {
        "halls": pa.table({"id": pa.array(range(1, 6), pa.int64())}),
        "seats": pa.table({"row": pa.array([r for r, _ in rows], pa.int32()), "seat": pa.array([s for _, s in rows], pa.int32())}),
    }


def good_show() -> pa.Table:
    n = range(400)
    columns = {
        "id": [i + 1 for i in n],
        "code": [f"c{i:04d}" for i in n],
        "room": [i // 20 for i in n],
        "slot": [i % 20 for i in n],
        "hall": [None if i % 3 else i % 5 + 1 for i in n],
        "row": [i % 10 for i in n],
        "seat": [i // 10 % 10 for i in n],
        "price": [5 + i * 7 % 50 for i in n],
        "sort": [["play", "opera", "film"][i % 3] for i in n],
    }
    return pa.table([pa.array(v, to_arrow(show("x").column(c).data_type)) for c, v in columns.items()], names=list(columns))


@pytest.fixture(scope="module")
def corrupted(tmp_path_factory) -> tuple[ValidationOutcome, Path]:
    """One table a corruption, all validated in one go; and one good table and one missing table among them."""
    folder = tmp_path_factory.mktemp("corrupted")
    tables, staged = parents()
    names = [*CORRUPTIONS, "good", "missing table"]
    schema = Schema.of([*tables, *map(show, names)])
    profiled = {**staged, **{name: good_show() for name in names}}
    staged |= {"good": good_show()} | {name: corruption.spoil(good_show()) for name, corruption in CORRUPTIONS.items()}
    return validated(schema, profiled, staged, folder), folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_caught_with_table_rule_and_count(corrupted, name):
    found = {failure.expectation: failure for failure in corrupted[0].failures if failure.table == name}
    matching = [failure for words, failure in found.items() if words.startswith(CORRUPTIONS[name].says)]
    assert matching, found
    assert matching[0].count == CORRUPTIONS[name].count
    assert not any("could not be computed" in str(failure) for failure in found.values())


@pytest.mark.slow
def test_a_missing_table_is_named_and_a_good_one_is_not(corrupted):
    failures = [str(failure) for failure in corrupted[0].failures]
    assert "missing table: the table is staged (it is missing)" in failures
    assert not any(failure.startswith(("good:", "halls:", "seats:")) for failure in failures)
    assert not corrupted[0].passed


@pytest.mark.slow
def test_unexpected_values_reach_neither_the_outcome_nor_the_disk(corrupted):
    outcome, folder = corrupted
    assert CANARY not in str(outcome.to_dict())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and not any(CANARY.encode() in path.read_bytes() for path in files)


def test_categories_that_are_not_staged_are_named_nowhere(tmp_path):
    """Twenty rows of the source may be one owner's: the encoder then withholds the category, and so must validation."""
    tables, parts = parents()
    schema = Schema.of([*tables, show("show")])
    source = put("sort", first(20, CANARY))(good_show())
    outcome = validated(schema, {**parts, "show": source}, {**parts, "show": good_show()}, tmp_path)
    assert outcome.passed, [str(failure) for failure in outcome.failures]
    assert CANARY not in str(outcome.to_dict())
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"opera" in content for content in files.values())
    assert not [path for path, content in files.items() if CANARY.encode() in content]
    assert not [path for path, content in files.items() if str(tmp_path).encode() in content]


def hostile() -> tuple[Schema, dict[str, pa.Table]]:
    """Names and categories with everything that quoting, templates and file names stumble over."""
    key, reference = 'Id\t{0} "?"', '$ref\n%s "?"'
    parent = Table('Pa"rent :x 100%?', (Column(key, Kind.IDENTIFIER, "int64", nullable=False),), primary_key=(key,))
    named = ["na'me :y", 'size "', "paid?", "line\nbreak\ttab", "\u2028"]
    columns = (*(Column(name, Kind.CATEGORY, "string") for name in named), Column(reference, Kind.IDENTIFIER, "int64"))
    child = Table("../child; drop table x --", columns, foreign_keys=(ForeignKey((reference,), parent.name, (key,)),))
    words = ["50 % :off", "o'clock", 'say "x"', "{batch}", "\\back", "::cast"]
    return Schema.of([parent, child]), {
        parent.name: pa.table({key: pa.array(range(10), pa.int64())}),
        child.name: pa.table(
            {**{name: pa.array(words * 10, pa.string()) for name in named}, reference: pa.array([i % 10 for i in range(60)], pa.int64())}
        ),
    }


def test_hostile_names_and_values_are_quoted(tmp_path):
    schema, tables = hostile()
    outcome = validated(schema, tables, tables, tmp_path)
    assert outcome.passed, [str(failure) for failure in outcome.failures]


@pytest.mark.postgres
def test_postgres_is_validated_alike(shop, tmp_path, postgres_url):
    url = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")
    hostile_schema, hostile_tables = hostile()
    schema = Schema.of([*shop.schema.tables.values(), *hostile_schema.tables.values()])
    twin = {**{n: arrow(t, shop.frames(7)[n]) for n, t in shop.schema.tables.items()}, **hostile_tables}
    known = profile(schema, {name: table.to_batches for name, table in twin.items()}, Privacy())
    engine = sa.create_engine(url)
    stage_on_postgres(engine, schema, twin)
    try:
        expected = {name: table.num_rows for name, table in twin.items()}
        outcome = validate_staged(engine, STAGING, schema, known, expected, Validation(), str(tmp_path))
        assert outcome.passed, [str(failure) for failure in outcome.failures]
        assert str(url.database) not in (tmp_path / "gx" / "great_expectations.yml").read_text()
    finally:
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(STAGING, cascade=True, if_exists=True))
        engine.dispose()


POSTGRES_TYPES = {
    "int32": sa.Integer(),
    "int64": sa.BigInteger(),
    "string": sa.Text(),
    "date": sa.Date(),
    "boolean": sa.Boolean(),
    "timestamp": sa.DateTime(),
    "time": sa.Time(),
    "decimal(10,2)": sa.Numeric(10, 2),
}


def stage_on_postgres(engine: sa.Engine, schema: Schema, tables: Mapping[str, pa.Table]) -> None:
    metadata = sa.MetaData(schema=STAGING)
    made = {
        name: sa.Table(name, metadata, *(sa.Column(c.name, POSTGRES_TYPES[c.data_type], key=f"c{i}") for i, c in enumerate(table.columns)))
        for name, table in schema.tables.items()
    }
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(STAGING, cascade=True, if_exists=True))
        connection.execute(sa.schema.CreateSchema(STAGING))
        metadata.create_all(connection)
        for name, table in tables.items():
            keys = {column: f"c{i}" for i, column in enumerate(table.column_names)}
            connection.execute(made[name].insert(), [{keys[k]: v for k, v in row.items()} for row in table.to_pylist()])


def test_a_tolerance_of_zero_wants_the_exact_number_of_rows(tmp_path):
    schema = Schema.of([replace(parents()[0][0])])
    halls = {"halls": parents()[1]["halls"]}
    known = profile(schema, {"halls": halls["halls"].to_batches}, Privacy())
    with duckdb_engine(halls) as engine:
        outcome = validate_staged(engine, STAGING, schema, known, {"halls": 6}, Validation(row_count_tolerance=0), str(tmp_path))
    assert [str(failure) for failure in outcome.failures] == ["halls: the table has 6 rows, give or take 0.00% (it has 5)"]


def test_an_id_that_the_table_of_its_type_does_not_have_is_caught(tmp_path):
    columns = (Column("id", Kind.IDENTIFIER, "int64"), Column("kind", Kind.CATEGORY, "string"), Column("about", Kind.IDENTIFIER, "string"))
    key = PolymorphicKey("kind", "about", (("a", "left", "id"), ("b", "right", "id")))
    parents = [Table("left", columns[:1], ("id",)), Table("right", (replace(columns[0], data_type="string"),), ("id",))]
    schema = Schema.of([*parents, Table("child", columns, ("id",), polymorphic=(key,))])
    child = pa.table({"id": [1, 2, 3, 4], "kind": ["a", "b", "a", None], "about": ["10", "x", None, None]})
    known = {"left": pa.table({"id": [10, 11]}), "right": pa.table({"id": ["x", "y"]})}
    good = validated(schema, {**known, "child": child}, {**known, "child": child}, tmp_path / "good")
    assert good.checks["polymorphic reference"] == 1 and not [f for f in good.failures if "polymorphic" in f.expectation]
    for place, (kind, about) in enumerate([("a", "x"), ("b", "10"), ("c", "10"), (None, "10")]):
        row = pa.table({"id": [9], "kind": pa.array([kind], pa.string()), "about": [about]})
        spoilt = validated(schema, {**known, "child": child}, {**known, "child": pa.concat_tables([child, row])}, tmp_path / str(place))
        (failure,) = (f for f in spoilt.failures if "polymorphic" in f.expectation)
        assert failure.count == 1 and "finds its row in the table of its type: left, right" in failure.expectation


@pytest.mark.parametrize(("orphans", "passes"), [(10, True), (12, True), (14, False), (6, False), (0, False)])
def test_a_key_with_orphans_has_as_many_as_the_source(tmp_path, orphans, passes):
    columns = (Column("id", Kind.IDENTIFIER, "int64"), Column("of", Kind.IDENTIFIER, "int64"))
    child = Table("child", columns, ("id",), foreign_keys=(ForeignKey(("of",), "parent", ("id",), orphan_share=0.1),))
    schema = Schema.of([Table("parent", columns[:1], ("id",)), child])
    tables = {"parent": pa.table({"id": [1, 2]}), "child": pa.table({"id": range(100), "of": [9] * orphans + [1] * (100 - orphans)})}
    outcome = validated(schema, tables, tables, tmp_path)
    assert outcome.passed is passes
    assert all("finds its row in parent, but for" in failure.expectation for failure in outcome.failures)
    assert outcome.checks["foreign key"] == outcome.checks["orphans"] == 1
