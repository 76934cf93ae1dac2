"""Which encoder each column of a table gets, and the layout of its tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import AS_FOUND, Draw, Encoder, EncodingSettings, Floats, Tokens
from synth_engine.encode.category import CategoryEncoder
from synth_engine.encode.moment import MomentEncoder
from synth_engine.encode.number import NumberEncoder
from synth_engine.encode.relative import Goals, Reference, RelativeEncoder
from synth_engine.encode.text import TextEncoder, UuidEncoder
from synth_engine.encode.uuids import UuidForm, are_uuids
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import Terminal
from synth_engine.randomness import stream
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import MOMENT_TYPES, NUMBER_TYPES, base_type, to_arrow

CHUNK = 500_000
"""Rows encoded at a time."""

PLAIN_TYPES = ("string", "boolean", "int16", "int32", "int64")
"""Types whose values JSON holds as they are."""

ENCODERS: dict[str, type[Encoder]] = {cls.tag: cls for cls in (CategoryEncoder, MomentEncoder, NumberEncoder, TextEncoder, UuidEncoder)}


@dataclass
class EncodedColumn:
    """One column of the token matrix. `slots` are its places in the matrix; `encoder` is None for a column whose
    kind is not modelled (it has no slots and is written as null). `has_nulls` says whether the source had any: where
    it had none, none may be drawn, however unlikely."""

    column: Column
    slots: list[int]
    encoder: Encoder | RelativeEncoder | None
    has_nulls: bool


class TableEncoder:
    """All modelled columns of a table, moments first (other columns are told relative to them), in schema order."""

    def __init__(self, columns: Sequence[EncodedColumn]) -> None:
        self.columns = list(columns)

    @property
    def sizes(self) -> list[int]:
        """Vocabulary sizes of all slots."""
        return [size for c in self.columns if c.encoder for size in c.encoder.slots]

    @property
    def column_of_slot(self) -> list[int]:
        """For each slot the number of the column it belongs to, counting columns that have slots."""
        with_slots = [c for c in self.columns if c.slots]
        return [i for i, c in enumerate(with_slots) for _ in c.slots]

    def column(self, name: str) -> Column:
        """The modelled column of that name, in the type its encoder sees."""
        return next(c.column for c in self.columns if c.column.name == name)

    def name_of(self, slot: int) -> str:
        """The column that a slot belongs to."""
        return next(c.column.name for c in self.columns if slot in c.slots)

    @property
    def never_null(self) -> frozenset[int]:
        """The slots whose token 0 would be a null in a column without any."""
        decisive = {c.slots[c.encoder.lead if isinstance(c.encoder, RelativeEncoder) else 0]: c for c in self.columns if c.slots}
        return frozenset(slot for slot, c in decisive.items() if not c.has_nulls)

    @property
    def empty_after(self) -> dict[int, int]:
        """Slot -> the first slot of its column, where the column is null if that one is 0, and the slot then says nothing. Columns told
        as steps see to it themselves."""
        return {slot: c.slots[0] for c in self.columns if not isinstance(c.encoder, RelativeEncoder) for slot in c.slots[1:]}

    def positions(self) -> list[Floats | None]:
        """Natural order of the tokens of all slots (see `Encoder.positions`)."""
        return [found for c in self.columns if c.encoder for found in c.encoder.positions()]

    @classmethod
    def fit(
        cls,
        columns: Sequence[Column],
        data: Mapping[str, pa.Array],
        references: Mapping[str, Sequence[tuple[Reference, Floats]]],
        entity: NDArray[np.int64],
        settings: EncodingSettings,
        seed: int,
        wanted: Mapping[str, ColumnSettings] | None = None,
        unique: Collection[str] = (),
        later: NDArray[np.int64] | None = None,
    ) -> TableEncoder:
        """Fit every column; `references` names the columns that are told as steps, in order, and from what, `wanted` those whose format
        is given, `unique` those in which no value may repeat; `later` is how many siblings come after each row."""
        told = {name: place for place, name in enumerate(references)}
        ordered = sorted(columns, key=lambda c: (told.get(c.name, len(told)), c.kind not in (Kind.DATE, Kind.TIMESTAMP)))
        encoded, at = [], 0
        for column in ordered:
            fitted = (wanted or {}).get(column.name, AS_FOUND), column.name in unique, entity, settings, stream(seed, column.name)
            encoder = _fit_column(column, data[column.name], references.get(column.name), *fitted, later)
            width = len(encoder.slots) if encoder else 0
            encoded.append(EncodedColumn(column, list(range(at, at + width)), encoder, _has_nulls(column, data[column.name])))
            at += width
        return cls(encoded)

    def encode(
        self, data: Mapping[str, pa.Array], references: Mapping[str, Sequence[Floats]], later: NDArray[np.int64] | None = None
    ) -> tuple[Tokens, NDArray[np.bool_]]:
        """Tokens of all rows, shape (rows, slots), and which of them the model learns; `references` and `later` as in `fit`."""
        rows = len(next(iter(data.values()))) if data else 0
        tokens = np.zeros((rows, len(self.sizes)), dtype=np.int32)
        learn = np.ones(tokens.shape, dtype=np.bool_)
        goals = {} if later is None else {name: Goals.of(values, later) for name, values in self._with_goals(data)}
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            told = {name: [values[part] for values in found] for name, found in references.items()}
            rest = None if later is None else later[part]
            ends = {name: found.part(part) for name, found in goals.items()}
            self._encode({name: values[part] for name, values in data.items()}, told, rest, ends, tokens[part], learn[part])
        return tokens, learn

    def _with_goals(self, data: Mapping[str, pa.Array]) -> Iterator[tuple[str, Floats]]:
        for c in self.columns:
            if isinstance(c.encoder, RelativeEncoder) and c.encoder.pacer:
                yield c.column.name, to_floats(data[c.column.name], c.column.data_type)

    def _encode(
        self,
        data: Mapping[str, pa.Array],
        references: Mapping[str, Sequence[Floats]],
        later: NDArray[np.int64] | None,
        goals: Mapping[str, Goals],
        tokens: Tokens,
        learn: NDArray[np.bool_],
    ) -> None:
        """Fill in the tokens of some rows, and which of them the model learns."""
        for c in self.columns:
            if isinstance(c.encoder, RelativeEncoder):
                values = to_floats(data[c.column.name], c.column.data_type)
                tokens[:, c.slots], learn[:, c.slots] = c.encoder.encode(values, references[c.column.name], later, goals.get(c.column.name))
            elif c.encoder:
                tokens[:, c.slots] = c.encoder.encode(data[c.column.name])
                if len(c.slots) > 1:  # the first slot of a moment says whether there is one
                    learn[:, c.slots[1:]] = (tokens[:, c.slots[0]] > 0)[:, None]

    def decode(self, tokens: Tokens, values: Mapping[str, Floats], draw_of: Mapping[str, Draw]) -> dict[str, pa.Array]:
        """Arrow columns for rows of tokens; `values` holds the columns that sampling decoded already."""
        out: dict[str, pa.Array] = {}
        for c in self.columns:
            name = c.column.name
            if c.encoder is None:
                out[name] = pa.nulls(len(tokens), to_arrow(c.column.data_type))
            elif isinstance(c.encoder, RelativeEncoder):
                out[name] = from_floats(values[name], c.column.data_type)
            else:
                out[name] = c.encoder.decode(tokens[:, c.slots], draw_of[name])
        return out

    def categories(self) -> dict[str, list[Any]]:
        """Column name -> the values that may be written, of every column of categories; none where they are written anew, and none of
        numbers and moments that are told of too few entities to be held against the source."""
        rough: dict[str, list[Any]] = {c.column.name: [] for c in self.columns if c.encoder and not c.encoder.tells_values()}
        return rough | {
            c.column.name: c.encoder.values.to_pylist() if isinstance(c.encoder, CategoryEncoder) else []
            for c in self.columns
            if c.column.kind in (Kind.CATEGORY, Kind.BOOLEAN) and base_type(c.column.data_type) in PLAIN_TYPES
        }

    def protections(self) -> dict[str, list[str]]:
        """Column name -> what was protected in it."""
        return {c.column.name: c.encoder.protections() for c in self.columns if c.encoder}

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "column": [c.column.name, c.column.kind.value, c.column.data_type, c.column.nullable],
                "slots": c.slots,
                "has_nulls": c.has_nulls,
                "encoder": None if c.encoder is None else {"tag": c.encoder.tag, **c.encoder.to_json()},
            }
            for c in self.columns
        ]

    @classmethod
    def from_json(cls, raw: Sequence[Mapping[str, Any]]) -> TableEncoder:
        columns = []
        for item in raw:
            name, kind, data_type, nullable = item["column"]
            column, encoder = Column(name, Kind(kind), data_type, nullable), _load(item["encoder"])
            columns.append(EncodedColumn(column, list(item["slots"]), encoder, item["has_nulls"]))
        return cls(columns)


def _load(raw: Mapping[str, Any] | None) -> Encoder | RelativeEncoder | None:
    if raw is None:
        return None
    return RelativeEncoder.from_json(raw) if raw["tag"] == RelativeEncoder.tag else ENCODERS[raw["tag"]].from_json(raw)


def _has_nulls(column: Column, values: pa.Array) -> bool:
    """Whether a value is missing; a number that is none (NaN, infinity) counts as missing, too."""
    if values.null_count or base_type(column.data_type) not in NUMBER_TYPES:
        return bool(values.null_count > 0)
    return not bool(np.isfinite(to_floats(values, column.data_type)).all())


def _fit_column(
    column: Column,
    values: pa.Array,
    references: Sequence[tuple[Reference, Floats]] | None,
    wanted: ColumnSettings,
    unique: bool,
    entity: NDArray[np.int64],
    settings: EncodingSettings,
    seed: int,
    later: NDArray[np.int64] | None,
) -> Encoder | RelativeEncoder | None:
    """The encoder that a column's kind and type ask for, and a format that is given."""
    stored = base_type(column.data_type)
    if wanted.pattern is not None or wanted.check_digit is not None:
        return TextEncoder.fit(values, column.data_type, settings, seed, wanted, unique=unique)
    if column.kind in (Kind.JSON, Kind.BINARY, Kind.GEO, Kind.OTHER):
        return None
    if column.kind in (Kind.CATEGORY, Kind.BOOLEAN) or stored == "boolean":
        categories = CategoryEncoder.fit(values, column.data_type, entity, settings)
        if len(categories.values) or values.null_count == len(values) or (column.nullable and stored in ("json", "other")):
            return categories  # else every value is rare, and they are written anew, as their type asks
        if stored in ("json", "other"):
            raise Terminal(
                f"Column {column.name!r} of kind {column.kind} must have a value that enough entities have, for it must not be null",
                value=f"every value is rare, and type {column.native_type or stored} is none that new ones can be written in",
                advice="set privacy.rare_category_entities lower, make the column nullable, or leave its table out",
            )
        # every value is rare and none may be null: they are written anew, as their type asks
    if references is not None:
        return RelativeEncoder.fit(to_floats(values, column.data_type), references, entity, settings, column.data_type, later)
    if stored in MOMENT_TYPES:
        return MomentEncoder.fit(values, column.data_type, entity, settings)
    if stored in NUMBER_TYPES:
        return NumberEncoder.fit(values, column.data_type, entity, settings)
    texts = values.drop_null().to_pylist()
    if stored == "uuid" or (stored == "string" and are_uuids(texts)):
        return UuidEncoder(column.data_type, UuidForm.of(texts, settings.extreme_entities))
    return TextEncoder.fit(values, column.data_type, settings, seed, unique=unique)
