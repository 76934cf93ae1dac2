"""Keys that nobody declared, guessed from the data: what is unique, and what is included in it.

Surrogate keys make inclusion worthless by itself: every column of months is included in every table numbered from 1. So a key is
taken only if, besides, its name says so or chance cannot explain it. What was thought of and not taken is told as well, each
with its evidence: counts and names, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.schema.files import SchemaFile, WrittenKey, WrittenTable, apply_schema_file
from synth_engine.schema.model import Kind, Provenance, Schema, Table
from synth_engine.schema.types import base_type, decimal_digits

SHOWN_SHARE = 0.95
"""Share of a column's values that must be in a key for the pair to be shown. All must be for it to be taken."""

FEWEST_ROWS = 10
"""In fewer rows, being unique says nothing about a column whose name says nothing."""

FEWEST_VALUES = 3
"""Fewer different values may be in a key by chance, whatever they look like."""

COLLISIONS = 5.0
"""Values that chance would have repeated so often (on average) are unique by design: chance alone does so once in 150 tables."""

LONGEST_KEY = 64
"""Characters. Longer strings are prose, unique or not."""

MOST_PAIRED_COLUMNS = 10
"""Columns of a table, at most, that are tried in pairs."""

_KEY_WORDS = frozenset({"id", "key", "code", "uuid", "guid", "pk", "fk", "sk", "ref"})
_GENERIC_WORDS = _KEY_WORDS | {"name", "no", "nr", "num", "number"}
_TABLE_PREFIXES = frozenset({"dim", "fct", "fact", "stg", "raw", "src", "tbl"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_JOINED = re.compile(rf"(.{{3,}})(?:{'|'.join(sorted(_KEY_WORDS - {'ref'}))})")

NAMED_AFTER_TABLE, NAMED_AFTER_KEY, NOT_NAMED = 2, 1, 0


@dataclass(frozen=True)
class InferredKey:
    """A primary key, or a foreign key if it has a `parent`, that the data suggests; only those `taken` are used."""

    table: str
    columns: tuple[str, ...]
    taken: bool
    evidence: str
    parent: str | None = None
    parent_columns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "columns": list(self.columns), "parent_columns": list(self.parent_columns)}


@dataclass(frozen=True)
class Sample:
    """The first rows of the columns of a table that could be keys; `whole` says that these are all rows."""

    rows: pa.Table
    whole: bool
    _distinct: dict[str, pa.Array] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table, rows: pa.Table, whole: bool) -> Sample:
        return cls(rows.select([c.name for c in table.columns if _family(c.data_type)]), whole)

    def distinct(self, column: str) -> pa.Array:
        """The different values of a column, without null."""
        if column not in self._distinct:
            values = self.rows[column]
            # values can be compared across tables only in one and the same type
            decimal = pa.decimal128(38, 0) if pa.types.is_decimal(values.type) else pa.string()
            self._distinct[column] = pc.unique(values.cast(pa.int64() if pa.types.is_integer(values.type) else decimal)).drop_null()
        return self._distinct[column]

    def is_key(self, *columns: str) -> bool:
        """Whether the columns are never null and no two rows have the same values."""
        if not self.rows.num_rows or any(self.rows[c].null_count for c in columns):
            return False
        if len(columns) == 1:
            return bool(len(self.distinct(columns[0])) == self.rows.num_rows)
        return bool(self.rows.group_by(list(columns)).aggregate([]).num_rows == self.rows.num_rows)

    @property
    def words(self) -> str:
        return "" if self.whole else f" (sampled: the first {self.rows.num_rows:,} rows)"


def infer_keys(schema: Schema, samples: Mapping[str, Sample], written_kinds: Collection[tuple[str, str]]) -> tuple[InferredKey, ...]:
    """Primary keys of tables without one, and foreign keys on columns without one, taken or not.

    A column is left alone if a person wrote what it means (`written_kinds`), unless that is an identifier.
    """
    return _Inference(schema, samples, written_kinds).run()


def apply_inferred(schema: Schema, keys: Iterable[InferredKey]) -> Schema:
    """The schema with the keys that were taken."""
    written: dict[str, WrittenTable] = {}
    for key in keys:
        if key.taken:
            table = written.get(key.table, WrittenTable(f"tables.{key.table}"))
            found = WrittenKey(table.path, key.columns, key.parent or "", key.parent_columns, Provenance.INFERRED)
            written[key.table] = (
                replace(table, foreign_keys=(*table.foreign_keys, found))
                if key.parent
                else replace(table, primary_key=key.columns, provenance={key.columns: Provenance.INFERRED})
            )
    return apply_schema_file(schema, SchemaFile("", written))


@dataclass(frozen=True)
class _Link:
    """A column whose values lie in a key. `share` is that of its values found there; `named` how its name speaks for it."""

    child: str
    column: str
    parent: str
    key: str
    share: float
    named: int
    specific: int
    holds: bool
    formatted: bool

    @property
    def convincing(self) -> bool:
        return self.holds and (self.named > NOT_NAMED or self.formatted)

    @property
    def rank(self) -> tuple[bool, int, int, float]:
        """Of two parents of one column the better has the greater rank."""
        return (self.convincing, self.named, self.specific, self.share)


class _Inference:
    def __init__(self, schema: Schema, samples: Mapping[str, Sample], written_kinds: Collection[tuple[str, str]]) -> None:
        self.schema, self.samples = schema, samples
        self.columns = {
            name: [
                c
                for c in samples[name].rows.column_names
                if ((name, c) not in written_kinds or table.column(c).kind is Kind.IDENTIFIER)
                and not any(c in (key.type_column, key.id_column) for key in table.polymorphic)
            ]
            for name, table in schema.tables.items()
        }
        self.candidates = {name: self._candidates(table) for name, table in schema.tables.items() if not table.primary_key}

    def run(self) -> tuple[InferredKey, ...]:
        links = sorted((link for name in self.schema.tables for link in self._links(name)), key=lambda link: link.rank, reverse=True)
        primary = {name: self._primary(name, links) for name in self.candidates}
        chosen = {name: key.columns for name, keys in primary.items() for key in keys if key.taken}
        foreign = self._foreign(links, chosen)
        for name in primary:
            if name not in chosen:
                primary[name] += self._pairs(name, foreign)
        return (*(key for keys in primary.values() for key in keys), *foreign)

    # -- primary keys --------------------------------------------------------------------------------------------------

    def _candidates(self, table: Table) -> list[str]:
        sample = self.samples[table.name]
        return [c for c in self.columns[table.name] if sample.is_key(c) and _is_short(sample.distinct(c))]

    def _primary(self, name: str, links: Sequence[_Link]) -> list[InferredKey]:
        """The unique columns of a table that could be its key, the best of them taken; `links` come best first."""
        best_of = {(link.child, link.column): link for link in reversed(links)}
        referred = {k.key for k in best_of.values() if k.parent == name and k.child != name and k.holds and k.named}
        refers = {k.column for k in best_of.values() if k.child == name and k.convincing}
        sample, first = self.samples[name], next(iter(self.schema.tables[name].column_names))
        reasons = {}
        for column in self.candidates[name]:
            if _is_own_key(column, name):
                reasons[column] = (0, "named as the table's key")
            elif column in referred:
                reasons[column] = (1, "other tables refer to it")
            elif column == first and column not in refers and self._is_systematic(name, column):
                reasons[column] = (2, "the first column, and too regular for chance")
        best = min(reasons, key=lambda column: reasons[column][0], default=None)
        unique = f"all {sample.rows.num_rows:,} values differ, none is null{sample.words}"
        shown = self.candidates[name] if best is None else reasons
        return [InferredKey(name, (c,), c == best, f"{unique}; {self._verdict(c, best, reasons)}") for c in shown]

    def _is_systematic(self, name: str, column: str) -> bool:
        """Whether different values cannot be chance: numbers without gaps, strings of a format."""
        values = self.samples[name].distinct(column)
        if len(values) < FEWEST_ROWS or not pa.types.is_integer(values.type):
            return len(values) >= FEWEST_ROWS and _is_formatted(values)
        bounds = pc.min_max(values).as_py()
        return bool(len(values) ** 2 / (2 * (bounds["max"] - bounds["min"] + 1)) >= COLLISIONS)

    @staticmethod
    def _verdict(column: str, best: str | None, reasons: Mapping[str, tuple[int, str]]) -> str:
        if column not in reasons:
            return "neither its name nor another table says that it is the key"
        return reasons[column][1] if column == best else f"{reasons[column][1]}; {best} fits better"

    def _pairs(self, name: str, foreign: Iterable[InferredKey]) -> list[InferredKey]:
        """Pairs of references that are unique together: the key of a table that links others."""
        sample, table = self.samples[name], self.schema.tables[name]
        references = {key.columns[0] for key in foreign if key.table == name and key.taken}
        references |= {key.columns[0] for key in table.foreign_keys if len(key.columns) == 1}
        # with a column that is unique by itself any pair is unique
        several = [c for c in self.columns[name] if c not in self.candidates[name]]
        paired = [c for c in several if c in references or _refers_by_name(c)][:MOST_PAIRED_COLUMNS]
        found: list[InferredKey] = []
        for pair in (pair for pair in combinations(paired, 2) if sample.is_key(*pair)):
            possible = len(sample.distinct(pair[0])) * len(sample.distinct(pair[1]))
            reason, taken = "too many rows for chance", True
            if sample.rows.num_rows**2 / (2 * possible) < COLLISIONS:
                reason, taken = "chance would explain it", False
            elif any(key.taken for key in found):
                reason, taken = "another pair was found before", False
            evidence = f"all {sample.rows.num_rows:,} pairs differ, none is null{sample.words}; {reason}"
            found.append(InferredKey(name, pair, taken, evidence))
        return found

    # -- foreign keys --------------------------------------------------------------------------------------------------

    def _links(self, child: str) -> Iterable[_Link]:
        """Every key that a column without one may refer to."""
        table = self.schema.tables[child]
        bound = {column for key in table.foreign_keys for column in key.columns}
        for column in (c for c in self.columns[child] if c not in bound):
            for name, parent in self.schema.tables.items():
                for key in self._single_keys(parent):
                    if (child, column) != (name, key):
                        yield from self._link(table, column, parent, key)

    def _single_keys(self, table: Table) -> list[str]:
        known = {key[0] for key in (table.primary_key, *table.unique) if len(key) == 1}
        return [c for c in self.samples[table.name].rows.column_names if c in known or c in self.candidates.get(table.name, ())]

    def _link(self, child: Table, column: str, parent: Table, key: str) -> Iterable[_Link]:
        """The link from the column to the key, if there is one worth showing."""
        family = _family(child.column(column).data_type)
        named, specific = _named(column, child.name, parent.name, key)
        own = _is_own_key(column, child.name) and named < NAMED_AFTER_TABLE
        # a number says nothing by its value, and a key named after its own table refers to no other by its name
        if family != _family(parent.column(key).data_type) or (family not in ("string", "uuid") and (own or not named)):
            return
        if own and (named or child.name == parent.name):
            return
        values, sample = self.samples[child.name].distinct(column), self.samples[parent.name]
        keys = sample.distinct(key)
        if not len(values) or not len(keys) or (sample.whole and len(values) * SHOWN_SHARE > len(keys)):
            return
        if not named and (child.name == parent.name or len(values) < FEWEST_VALUES):
            return
        share, formatted = pc.sum(pc.is_in(values, value_set=keys)).as_py() / len(values), _is_formatted(values)
        # of a parent that was cut, values that are missing may be among the rows not read
        holds = share == 1 or (not sample.whole and share > 0)
        if share >= SHOWN_SHARE or (holds and (named or formatted)):
            yield _Link(child.name, column, parent.name, key, share, named, specific, holds, formatted)

    def _foreign(self, links: Iterable[_Link], chosen: Mapping[str, tuple[str, ...]]) -> list[InferredKey]:
        """The links, best first, as keys: a column's first that convinces and leads to a key is taken."""
        convincing = {(k.child, k.column, k.parent, k.key): k.named for k in links if k.convincing}
        placed: set[tuple[str, str]] = set()
        found = []
        for link in links:
            parent = self.schema.tables[link.parent]
            keys = [parent.primary_key, *parent.unique, chosen.get(link.parent, ())]
            if (link.key,) not in keys and any(keys):
                continue  # the parent has a key, and this column is not it
            reason = _reason(link)
            if link.convincing:
                back = convincing.get((link.parent, link.key, link.child, link.column), -1)
                if (link.key,) not in keys:
                    reason = f"{link.key} is not taken as the key of {link.parent}"
                elif back >= link.named:
                    reason = "each is included in the other, so nothing tells which of them refers"
                elif (link.child, link.column) in placed:
                    reason = "another table fits better"
            taken = link.convincing and reason == _reason(link)
            placed |= {(link.child, link.column)} if taken else set()
            evidence = f"{self._counts(link)}; {reason}"
            found.append(InferredKey(link.child, (link.column,), taken, evidence, link.parent, (link.key,)))
        tables = list(self.schema.tables)
        return sorted(found, key=lambda k: (tables.index(k.table), self.schema.tables[k.table].column_names.index(k.columns[0])))

    def _counts(self, link: _Link) -> str:
        child, parent = self.samples[link.child], self.samples[link.parent]
        values, keys = len(child.distinct(link.column)), len(parent.distinct(link.key))
        inside = round(link.share * values)
        which = f"all {values:,}" if inside == values else f"{inside:,} of {values:,}"
        return f"{which} values{child.words} are among the {keys:,} of {link.parent}.{link.key}{parent.words}"


def _reason(link: _Link) -> str:
    if not link.holds:
        return "not all are there"
    if link.named:
        return f"named after {'the table' if link.named == NAMED_AFTER_TABLE else 'the key'}"
    return "too long a format for chance" if link.formatted else "chance would explain it, and the name says nothing"


# -- values ------------------------------------------------------------------------------------------------------------


def _family(data_type: str) -> str:
    """Types whose values can be compared as keys bear the same name; empty for those that no key is guessed of."""
    base, digits = base_type(data_type), decimal_digits(data_type)
    if base in ("int16", "int32", "int64"):
        return "integer"
    if digits:
        return "decimal" if digits[0] <= 38 and digits[1] == 0 else ""
    return base if base in ("string", "uuid") else ""


def _is_short(values: pa.Array) -> bool:
    return not pa.types.is_string(values.type) or pc.max(pc.utf8_length(values)).as_py() <= LONGEST_KEY


def _is_formatted(values: pa.Array) -> bool:
    """Whether these are UUIDs, or other strings of six characters and more with digits in each."""
    if not pa.types.is_string(values.type) or len(values) < FEWEST_VALUES:
        return False
    long = pc.greater_equal(pc.utf8_length(values), 6)
    return bool(pc.all(pc.and_(long, pc.match_substring_regex(values, r"[0-9]"))).as_py())


# -- names -------------------------------------------------------------------------------------------------------------


def _words(name: str) -> list[str]:
    """`ShipCustomer_IDs` -> ship, customer, id: lower case, singular."""
    return [_singular(word.lower()) for word in _WORD.findall(name)]


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2 else word


def _table_words(name: str) -> list[str]:
    words = _words(name)
    return words[1:] if len(words) > 1 and words[0] in _TABLE_PREFIXES else words


def _stem(words: list[str]) -> list[str]:
    """What words of a column say besides being a key: `fk`, customer, `id` -> customer, and customerid -> customer."""
    if len(words) == 1 and words[0] not in _KEY_WORDS and (joined := _JOINED.fullmatch(words[0])):
        return [joined[1]]
    start = 1 if len(words) > 1 and words[0] in _KEY_WORDS else 0
    end = len(words)
    while end > start and words[end - 1] in _KEY_WORDS:
        end -= 1
    return words[start:end]


def _is_of_table(words: list[str], table: list[str], *, with_role: bool) -> bool:
    """Whether a column's words name the table: customer, customer_id, customerid, and with a role ship_customer_id."""
    stem = _stem(words)
    return "".join(stem) == "".join(table) or (with_role and stem != words and bool(table) and stem[-len(table) :] == table)


def _is_own_key(column: str, table: str) -> bool:
    """Whether the column is named as the key of its own table: id, customer_id."""
    words = _words(column)
    return _stem(words) != words and (not _stem(words) or _is_of_table(words, _table_words(table), with_role=False))


def _refers_by_name(column: str) -> bool:
    words = _words(column)
    return _stem(words) not in ([], words)


def _named(column: str, child: str, parent: str, key: str) -> tuple[int, int]:
    """How a column's name speaks for a parent, and in how many words."""
    words, table, key_words = _words(column), _table_words(parent), _words(key)
    if child == parent:
        role = _stem(words)[: -len(table)] if _is_of_table(words, table, with_role=True) else []
        return (NAMED_AFTER_TABLE, len(table)) if role or _stem(words) == ["parent"] else (NOT_NAMED, 0)
    if _is_of_table(words, table, with_role=True):
        return NAMED_AFTER_TABLE, len(table)
    if not _GENERIC_WORDS.issuperset(key_words) and words[-len(key_words) :] == key_words:
        return NAMED_AFTER_KEY, len(key_words)
    return NOT_NAMED, 0
