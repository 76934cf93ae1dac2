"""What a trained model is: for each table its encoders, key formats, degrees, link and row networks, and nothing of a real row
but key values that settings keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Encoder, Floats
from synth_engine.encode.derived import Derivation
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.places import Places
from synth_engine.encode.relative import Reference
from synth_engine.encode.table import TableEncoder
from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.model.aggregates import Aggregate
from synth_engine.model.constants import Constant
from synth_engine.model.context import MOST_CONTEXT, Context
from synth_engine.model.degrees import DegreeModel
from synth_engine.model.dependencies import Dependency
from synth_engine.model.network import RowNetwork
from synth_engine.model.ordinals import Ordinal
from synth_engine.model.orphans import Orphans
from synth_engine.model.owners import FEWEST_OWNERS
from synth_engine.model.partners import Partners
from synth_engine.model.paths import Path
from synth_engine.model.skeleton import Skeleton
from synth_engine.model.training import TrainingResult
from synth_engine.polymorphic import expanded
from synth_engine.schema import ForeignKey, Schema
from synth_engine.schema.types import base_type


@dataclass
class KeyModel:
    """One foreign key: its share of nulls, whether it is deferred (closes a cycle), its degrees, and the vocabulary
    sizes of its parents' child summary. Of a key to the own table, `depths` are the shares of the rows at each depth, and
    `loop_share` tells how many of the roots refer to themselves rather than to nobody. `partners` tells which parents go
    together with those of other keys, None where their rows do not tell. `orphans` are those to be reproduced. Rows that
    lead to one row along the first key of `settled_by` that leads anywhere lead to one row along this one, too."""

    key: ForeignKey
    null_share: float
    deferred: bool
    degrees: DegreeModel
    summary: tuple[int, int] | None
    depths: tuple[float, ...] = ()
    loop_share: float = 0.0
    partners: Partners | None = None
    orphans: Orphans | None = None
    settled_by: tuple[int, ...] = ()

    @property
    def link_sizes(self) -> list[int]:
        """Vocabulary sizes of a link's tokens: what partners its parent has, if that is told, and the two codes of the child
        summary. The first token is 0 where there is no parent."""
        partners = [] if self.partners is None else [1 + self.partners.size]
        return partners + list(self.summary or (1, 1))


@dataclass
class TableModel:
    """Everything learned about one table. `joint_codes` is the vocabulary size of the joint summary of its children,
    None where at most one key refers to it. `hidden_rows` are the hidden tokens of a reference table's rows: they are
    dealt out as they are, so that every hub is there exactly once. `types_alone` holds for the type column of each polymorphic
    reference the types that rows which refer to nobody have. `part_of` is the number of the key to the entity that rows are part of
    (None: each is one). `derived` are the columns that follow from others of their row, each after those it is computed from,
    `dependencies` the categories that others of their row settle, `aggregates` the columns that sum up children,
    `constants` those that the rows of one parent share, `places` those of pairs of columns that together say where."""

    name: str
    rows: int
    keys: list[KeyModel]
    owner: int | None
    sequential: bool
    encoder: TableEncoder
    references: dict[str, list[Reference]]
    key_generators: dict[str, KeyGenerator]
    keys_follow: str | None
    ordinal: Ordinal | None = None
    row_network: RowNetwork | None = None
    link_network: RowNetwork | None = None
    joint_codes: int | None = None
    hidden_rows: NDArray[np.int32] | None = None
    trainings: dict[str, TrainingResult] = field(default_factory=dict)
    types_alone: dict[str, list[str | None]] = field(default_factory=dict)
    part_of: int | None = None
    derived: list[Derivation] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)
    aggregates: list[Aggregate] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    places: list[Places] = field(default_factory=list)

    @property
    def live_keys(self) -> list[int]:
        """Numbers of the keys whose parents are generated first."""
        return [i for i, k in enumerate(self.keys) if not k.deferred]

    @property
    def place_names(self) -> list[str]:
        """Names of the categories that stand for two columns each, and are no columns of the table."""
        return [places.name for places in self.places]

    @property
    def settled_keys(self) -> dict[int, tuple[int, ...]]:
        """Numbers of the keys that others settle, with those of these, each after the keys that settle it."""
        settled = {i: key.settled_by for i, key in enumerate(self.keys) if key.settled_by}

        def depth(i: int) -> int:
            return 1 + max(map(depth, settled[i])) if i in settled else 0

        return {i: settled[i] for i in sorted(settled, key=depth)}

    @property
    def context_keys(self) -> list[int]:
        """Numbers of the keys whose parents a row is told of: of all, not of its owner alone."""
        return self.live_keys

    @property
    def writers(self) -> dict[str, Encoder | KeyGenerator]:
        """By column, what writes its values from a format or statistics of its own."""
        encoders = {c.column.name: c.encoder for c in self.encoder.columns if isinstance(c.encoder, Encoder)}
        return {**encoders, **self.key_generators}

    @property
    def derived_categories(self) -> dict[str, list[Any] | None]:
        """What `TableEncoder.categories` would say of the derived columns: of a copy the same, as little of what is computed as of what
        it is computed from, nothing of what has no bounds (of what moments or children come to, say), and of what repeats a parent's None:
        that is for the parent to say."""
        summed = [one.column for one in self.aggregates]
        own = self.encoder.categories() | {c: [] for c in summed}
        found: dict[str, list[Any] | None] = {one.column: None for one in self.derived if one.key is not None}
        of_moments = (one for one in self.derived if one.is_restated and not one.is_copy)
        found |= {one.column: list(dict.fromkeys(name for _, name in one.names)) for one in of_moments}
        for one in sorted((one for one in self.derived if one.column not in found), key=lambda one: one.is_copy):
            if any(c in found and found[c] is None for c in one.operands):
                found[one.column] = None
                continue
            told = [known for c in one.operands if (known := found.get(c, own.get(c))) is not None]
            if one.is_copy and told:
                found[one.column] = told[0]
            elif not one.is_copy and not (all(told) and np.isfinite(one.bounds).any()):
                found[one.column] = []
        return found | {c: [] for c in summed}

    @property
    def reference_keys(self) -> list[int]:
        """Live keys other than the owner: their parents are assigned by links."""
        return [i for i in self.live_keys if i != self.owner]


@dataclass
class Model:
    """A trained model of a whole schema. `held_out` marks the source rows of each table that were not learned from,
    `alike` as many that were, chosen in the same way.

    `kept` are the tables that are delivered as they are, each with the digest of its rows. `structure` says whether links are
    drawn (`sampled`) or the source's (`original`); of tables whose links are, `skeletons` holds them. `twin` is the schema of the
    tables, `schema` the one that is learned: polymorphic references are one key a type in it (see `synth_engine.polymorphic`). `paths`
    are the keys that lead where others do.
    """

    twin: Schema
    tables: dict[str, TableModel]
    seed: int
    held_out: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    alike: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    cut_short: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    structure: str = "sampled"
    skeletons: dict[str, Skeleton] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schema = expanded(self.twin)

    @property
    def written(self) -> dict[str, TableModel]:
        """The tables whose rows the model writes."""
        return {name: table for name, table in self.tables.items() if name not in self.kept}

    def summaries_of(self, table: str) -> list[tuple[str, int, tuple[int, int]]]:
        """(child, key number, vocabulary sizes) of every summary that rows of `table` carry, in slot order."""
        found = []
        for child, model in self.tables.items():
            for i, key in enumerate(model.keys):
                if key.key.parent == table and key.summary is not None:
                    found.append((child, i, key.summary))
        return found

    def hidden_sizes(self, table: str) -> list[int]:
        """Vocabulary sizes of a row's hidden tokens: the joint summary of its children, then two codes a key."""
        joint = self.tables[table].joint_codes
        return ([] if joint is None else [joint]) + [size for *_, sizes in self.summaries_of(table) for size in sizes]

    def slot_sizes(self, table: str) -> list[int]:
        """Vocabulary sizes of a row's tokens: the hidden ones first, then the columns."""
        return self.hidden_sizes(table) + self.tables[table].encoder.sizes

    def slot_columns(self, table: str) -> list[int]:
        """The column number of each of those slots."""
        joint = 0 if self.tables[table].joint_codes is None else 1
        summaries = len(self.summaries_of(table))
        hidden = [0] * joint + [joint + i for i in range(summaries) for _ in range(2)]
        return hidden + [joint + summaries + c for c in self.tables[table].encoder.column_of_slot]

    def context_sizes(self, table: str) -> list[int]:
        """Vocabulary sizes of a row's context: parents' tokens (0 is a missing parent), then what they know of theirs."""
        parents = [self.tables[table].keys[i].key.parent for i in self.tables[table].context_keys]
        own = [size + 1 for parent in parents for size in self.slot_sizes(parent)]
        further = [size for parent in parents for size in self.context_sizes(parent)]
        return (own + further)[:MOST_CONTEXT]

    def slot_positions(self, table: str) -> list[Floats | None]:
        """Natural order of the tokens of every slot; summary codes are numbered in order, 0 (childless) is outside."""
        codes: list[Floats | None] = [np.r_[np.nan, np.linspace(0, 1, size - 1)] for size in self.hidden_sizes(table)]
        return codes + self.tables[table].encoder.positions()

    def context_positions(self, table: str) -> list[Floats | None]:
        """The same for the context's tokens, which have one more in front: a missing parent."""
        parents = [self.tables[table].keys[i].key.parent for i in self.tables[table].context_keys]
        own = [None if p is None else np.r_[np.nan, p] for parent in parents for p in self.slot_positions(parent)]
        return (own + [p for parent in parents for p in self.context_positions(parent)])[:MOST_CONTEXT]

    def categories(self) -> dict[str, dict[str, list[Any] | None]]:
        """Table -> column -> the values that may be written, of every column of categories; the types of polymorphic references
        are named in the settings, however rare. None where a column repeats one of a parent's: what may stand there is said of that."""
        found = {name: {**model.encoder.categories(), **model.derived_categories} for name, model in self.tables.items()}
        for name, model in self.tables.items():
            found[name] = {column: values for column, values in found[name].items() if column not in model.place_names}
        for name, table in self.twin.tables.items():
            for reference in table.polymorphic:
                whole = base_type(table.column(reference.type_column).data_type) != "string"
                known = found[name].get(reference.type_column) or []
                declared = [int(of) if whole else of for of in reference.types]
                found[name][reference.type_column] = [*known, *(of for of in declared if of not in known)]
        return found

    def protections(self) -> dict[str, dict[str, list[str]]]:
        """Table -> column -> what was protected in it."""
        return {
            name: {
                **{c: told for c, told in table.encoder.protections().items() if c not in table.place_names},
                **{c: told for c, keys in table.key_generators.items() if (told := keys.protections())},
            }
            for name, table in self.written.items()
        }

    def rules(self) -> list[str]:
        """What is kept to in every row of a twin since it holds in the source, a sentence for each column or key."""
        found = [path.says(self.schema) for path in self.paths]
        for name, table in self.written.items():
            labels = {i: key.key.parent for i, key in enumerate(table.keys)}
            found += [f"{name}.{one.column}: {one.says(labels)}" for one in table.derived]
            found += [f"{name}.{one.column}: {one.says()}" for one in table.aggregates]
            settled = ((table.encoder.name_of(one.slot), table.encoder.name_of(one.of)) for one in table.dependencies)
            found += [f"{name}.{column}: settled by {of}" for column, of in settled]
            found += [f"{name}.{one.column}: the same in all rows of one row of {labels[one.key]}" for one in table.constants]
            settling = ((key, labels[key.settled_by[0]]) for key in table.keys if key.settled_by)
            found += [f"{key.key.label(name)}: the same in all rows of one row of {of}" for key, of in settling]
        return found

    def entities(self) -> list[str]:
        """Whom values are protected for, a sentence for each table whose rows are entities."""
        parts: dict[str, list[str]] = {}
        for name in self.tables:
            root = name
            while (part_of := self.tables[root].part_of) is not None:
                root = self.tables[root].keys[part_of].key.parent
            if name in self.written:
                parts.setdefault(root, []).append(name)
        return [self._entities_of(root, [name for name in names if name != root]) for root, names in parts.items()]

    def _entities_of(self, root: str, others: list[str]) -> str:
        parents = dict.fromkeys(key.key.parent for key in self.tables[root].keys if key.key.parent != root)
        whole = f", with its rows of {', '.join(others)}" if others else ""
        though = f", whomever it refers to ({', '.join(parents)})" if parents else ""
        return f"{root}: each row is an entity{whole}{though}"

    def lookups(self) -> list[str]:
        """Tables of so few rows that others refer to, and that refer to none, that hardly a value in them is had by enough entities."""
        parents = {key.key.parent for table in self.tables.values() for key in table.keys}
        return [
            name
            for name, table in self.written.items()
            if name in parents and not table.keys and table.encoder.columns and 0 < table.rows < FEWEST_OWNERS
        ]

    def changes(self, rows: Mapping[str, int]) -> dict[str, dict[str, list[str]]]:
        """Table -> column -> what of its format cannot be kept in so many rows, where anything cannot."""
        found = {name: {c: e.changes(rows[name]) for c, e in table.writers.items()} for name, table in self.written.items()}
        return {name: {c: told for c, told in columns.items() if told} for name, columns in found.items() if any(columns.values())}

    def require_room(self, rows: Mapping[str, int]) -> None:
        """Raise `ConfigurationError` with every column whose type or format cannot hold new values for so many rows."""
        faults = [
            SynthError(f"{name}.{column}: {writer.room}", value=lack, advice=writer.remedy)
            for name, table in self.written.items()
            for column, writer in table.writers.items()
            if (lack := writer.lack(rows[name]))
        ]
        if faults:
            raise ConfigurationError(faults)

    def facts(self) -> dict[str, Any]:
        """Figures of the training, for the manifest."""
        return {
            name: {
                "owner": table.keys[table.owner].key.label(name) if table.owner is not None else None,
                "networks": {
                    part: {
                        "epochs": r.epochs,
                        "training_loss": r.training_loss,
                        "held_out_loss": r.held_out_loss,
                        "rows_per_second": round(r.rows_per_second),
                    }
                    for part, r in table.trainings.items()
                },
            }
            for name, table in self.tables.items()
        }


def context_of(
    model: Model,
    table: str,
    parents: Mapping[int, NDArray[np.int64]],
    tokens: Mapping[str, NDArray[np.int32]],
    contexts: Mapping[str, Context],
    rows: int,
) -> Context:
    """Context of every row. `parents` maps each live key's number to row numbers."""
    told = model.tables[table].context_keys
    names = [model.tables[table].keys[i].key.parent for i in told]
    links = tuple(parents[i] for i in told)
    return Context(rows, links, tuple(tokens[name] for name in names), tuple(contexts[name] for name in names))
