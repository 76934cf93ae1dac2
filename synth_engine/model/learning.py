"""Learning a model from tables: structure first (summaries, degrees, links), then rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.config import Config
from synth_engine.encode.base import AS_FOUND, EncodingSettings
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.written import with_written_moments
from synth_engine.model.aggregates import Aggregate
from synth_engine.model.calibration import Trial, calibrate
from synth_engine.model.computed import protected
from synth_engine.model.constants import find_constants
from synth_engine.model.context import Context
from synth_engine.model.degrees import REFERENCE_TABLE, DegreeModel
from synth_engine.model.devices import device_of
from synth_engine.model.following import train_together
from synth_engine.model.kept import as_delivered, digest
from synth_engine.model.keyplan import is_unique, surrogate_columns
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.orphans import Orphans
from synth_engine.model.partners import Partners
from synth_engine.model.paths import find_paths, with_errors_mended
from synth_engine.model.placing import find_places
from synth_engine.model.preparation import depths_of, encode_table, prepare
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.rules import add_up, settled_otherwise
from synth_engine.model.skeleton import Skeleton, refuse_ambiguous_columns
from synth_engine.model.state import KeyModel, Model, TableModel, context_of
from synth_engine.model.summaries import Summary, summarise, summarise_jointly
from synth_engine.model.training import Examples, Schedule
from synth_engine.polymorphic import expanded, expanded_tables, types_alone
from synth_engine.progress import Listener, Progress, ignore
from synth_engine.randomness import generator, stream
from synth_engine.schema import Schema


@dataclass(frozen=True)
class Size:
    """What `training.size` stands for: widths of the networks, resolution of numbers, and how long to train."""

    embedding: int
    hidden: int
    recurrent: int
    bins: int
    steps: int


SIZES = {
    "small": Size(8, 32, 64, 32, 600),
    "medium": Size(16, 64, 128, 64, 1_500),
    "large": Size(24, 128, 256, 100, 6_000),
}

NEAREST_CONTEXT = 32
"""Context tokens that tell of a parent when its children are linked."""

MOST_SLOTS, NARROWEST = 100, 32
"""Slots beyond which layers are halved, again at twice as many, down to so many hidden units: work grows with the square of the number of
slots, and with that of these widths."""

MOST_COMPARED = 100_000
"""Rows of which it is seen whether keys rise with the moments of their rows."""

ROWS_PER_CODE, MOST_COPIES = 150, 50
"""Training rows that the first summary code of a hub should have, and how often a row is repeated at most to that end."""


def learn(schema: Schema, tables: Mapping[str, pa.Table], config: Config, listener: Listener = ignore) -> Model:
    """Train on whole tables, given by name; columns and keys as `schema` says.

    Same schema, tables, configuration and seed give the same model on CPU, unless a time budget cuts training short.
    """
    learner = _Learner(schema, tables, config, listener)
    del tables  # what nobody else holds is given back as soon as it is encoded
    return learner.run()


class _Learner:
    def __init__(self, schema: Schema, tables: Mapping[str, pa.Table], config: Config, listener: Listener) -> None:
        kept = {name: tables[name] for name in schema.tables if name in config.keep}
        tables = expanded_tables(schema, {**tables, **as_delivered(schema, kept)})
        written = with_written_moments(expanded(schema), lambda name, columns: tables[name].select(columns).to_batches())
        paths = [] if config.structure == "original" else [path for path in find_paths(written, tables) if path.child not in kept]
        tables, self.schema = with_errors_mended(written, tables, paths), written
        self.config, self.listener = config, listener
        self.size = SIZES[config.training.size]
        self.settings = EncodingSettings(config.privacy.rare_category_entities, config.privacy.extreme_value_entities, self.size.bins)
        self.device = device_of(config.training.device)
        self.began = time.monotonic()
        self.seed = config.seed
        self.source = dict(tables)
        self.prepared: dict[str, PreparedTable] = {}
        self.aggregates: dict[str, list[Aggregate]] = {}
        digests = {name: digest(data) for name, data in kept.items()}
        self.model = Model(schema, {}, self.seed, kept=digests, structure=config.structure, paths=paths)
        self.tokens: dict[str, NDArray[np.int32]] = {}
        self.learned: dict[str, NDArray[np.bool_]] = {}
        self.contexts: dict[str, Context] = {}

    def run(self) -> Model:
        self.listener(Progress("train", None, 0, len(self.schema.tables), "tables prepared"))
        given = {
            name: [c for c, wanted in columns.items() if wanted.pattern is not None or wanted.check_digit is not None]
            for name, columns in self.config.columns.items()
            if name not in self.model.kept
        }
        self.prepared = prepare(self.schema, self.source, self.seed, self.config.privacy.entity_tables, given, self.model.paths)
        self.aggregates = add_up(self.prepared, given, self.model.kept)
        if self.config.structure == "original":
            refuse_ambiguous_columns(self.prepared)
        for done, (name, one) in enumerate(self.prepared.items(), 1):
            self._encode(name, one)
            pa.default_memory_pool().release_unused()
            self.listener(Progress("train", name, done, len(self.prepared), "tables encoded"))
        self.model.require_room({name: one.rows for name, one in self.prepared.items()})  # before the work of training
        self._summarise()
        for name, one in self.prepared.items():
            self._contextualise(name, one)
        for name, one in self.prepared.items():
            if name not in self.model.skeletons:
                self._degrees(name, one)
                self._partners(name, one)
        trials = {name: Trial.of(self.prepared[name], self.prepared, self.seed) for name in self.model.written}
        for one in self.prepared.values():
            one.forget_values()  # networks learn from tokens
        weights = {name: self.prepared[name].rows * max(self.tokens[name].shape[1], 1) for name in self.model.written}
        for name in self.model.written:
            self._networks(name, self.prepared[name], weights)
            weights[name] = 0
            self._calibrate(name, trials[name])
        self.model.cut_short = any(t.cut_short for table in self.model.tables.values() for t in table.trainings.values())
        return self.model

    def _encode(self, name: str, one: PreparedTable) -> None:
        wanted = self.config.columns.get(name, {})
        fixed = settled_otherwise(one.table).union(aggregate.column for aggregate in self.aggregates[name])
        placed = [] if name in self.model.kept else find_places(one, self.settings, generator(self.seed, "places", name))
        constants = find_constants(one, fixed)
        shared = {constant.column: constant.key for constant in constants}
        one.derived = protected(one.derived, one, self.settings, shared)
        there = () if name in self.model.kept else self.tokens  # a kept table is encoded again when it is delivered, by its own rows
        encoded = {other: (self.model.tables[other].encoder, self.tokens[other]) for other in there}
        found = encode_table(one, self.prepared, self.settings, self.seed, wanted, encoded, fixed, placed)
        encoder, self.tokens[name], self.learned[name], dependencies = found
        generators = {
            c: KeyGenerator.fit(
                one.data[c], one.table.column(c).data_type, self.settings, stream(self.seed, "key", name, c), wanted.get(c, AS_FOUND)
            )
            for c in surrogate_columns(one.plan, one.table)
            if name not in self.model.kept
        }
        self.model.tables[name] = TableModel(
            name, one.rows, [], one.owner, _has_siblings(one), encoder, one.references, generators, None, one.ordinal
        )
        self.model.tables[name].part_of = one.part_of
        self.model.tables[name].derived = one.derived
        named = [(dependency, encoder.name_of(dependency.of), encoder.name_of(dependency.slot)) for dependency in dependencies]
        self.model.tables[name].constants = constants
        self.model.tables[name].places = [places for places, _ in placed]
        self.model.tables[name].dependencies = [  # what a parent's rows share cannot follow what they differ in
            dependency for dependency, of, settled in named if settled not in shared or shared.get(of) == shared[settled]
        ]
        self.model.tables[name].keys_follow = _followed_column(one, generators)
        follow = self.model.tables[name].keys_follow
        self.model.tables[name].aggregates = [found for found in self.aggregates[name] if found.column != follow]
        self.model.tables[name].types_alone = {r.type_column: types_alone(r, one.data) for r in one.table.polymorphic}
        for kept, marks in ((self.model.held_out, one.held_out), (self.model.alike, one.alike)):
            kept[name] = np.zeros(one.rows, dtype=np.bool_)
            kept[name][one.source_row] = marks
        keys = (key for other in self.prepared.values() for key in other.keys if key.parent == name)
        one.forget_encoded({column for key in keys for column in key.parent_columns})

    def _summarise(self) -> None:
        """Add every key's child summary to its parent's tokens."""
        found: dict[str, list[Summary]] = {name: [] for name in self.prepared}
        fewest = self.config.privacy.rare_category_entities
        for name, one in self.prepared.items():
            for i, key in enumerate(one.keys):
                parent = self.prepared[key.parent]
                degrees = np.bincount(one.parents[i][one.parents[i] >= 0], minlength=parent.rows)
                unique = is_unique(one.table, key) and int(degrees.max(initial=0)) <= 1
                blank = DegreeModel.fit(degrees, np.zeros((len(degrees), 0), np.int32), None, unique, self.settings.extreme_entities, 0)
                summary = None
                if not one.plan.deferred[i]:
                    made = summarise(one, i, parent.rows, self.seed, fewest)
                    found[key.parent].append(made)
                    summary = made.sizes
                null_share = float((one.parents[i] < 0).mean()) if one.rows else 0.0
                depths, loops = (depths_of(one.parents[i]), one.loop_share.get(i, 0.0)) if key.parent == name else ((), 0.0)
                self.model.tables[name].keys.append(KeyModel(key, null_share, one.plan.deferred[i], blank, summary, depths, loops))
                self.model.tables[name].keys[i].settled_by = one.settled_by.get(i, ())
                wanted = self.config.columns.get(key.parent, {}).get(key.parent_columns[0], AS_FOUND)
                self.model.tables[name].keys[i].orphans = Orphans.of(
                    one, i, parent, self.settings, stream(self.seed, "orphans", name, i), wanted
                )
        for name, summaries in found.items():
            hidden = [s.tokens for s in summaries]
            if len(summaries) > 1:
                joint, self.model.tables[name].joint_codes = summarise_jointly(summaries, self.seed, name, fewest)
                hidden = [joint[:, None], *hidden]
            if summaries and not self.prepared[name].plan.live and np.count_nonzero(hidden[0][:, 0]) <= REFERENCE_TABLE:
                self.model.tables[name].hidden_rows = np.concatenate(hidden, axis=1)
            if name in self.model.kept or self.model.structure == "original":
                at_least = np.zeros((self.prepared[name].rows, 0), np.int32)
                self.model.skeletons[name] = Skeleton.of(self.prepared[name], np.concatenate([at_least, *hidden], axis=1))
            if hidden:
                self.tokens[name] = np.concatenate([*hidden, self.tokens[name]], axis=1)
                known = np.ones((len(self.learned[name]), sum(h.shape[1] for h in hidden)), dtype=np.bool_)
                self.learned[name] = np.concatenate([known, self.learned[name]], axis=1)

    def _contextualise(self, name: str, one: PreparedTable) -> None:
        parents = {i: one.parents[i] for i in one.plan.live}
        self.contexts[name] = context_of(self.model, name, parents, self.tokens, self.contexts, one.rows)

    def _degrees(self, name: str, one: PreparedTable) -> None:
        """Learn each key's degrees from what is known of the parent: its row, its ancestors, degrees drawn before."""
        for i, key in enumerate(one.keys):
            parent = self.prepared[key.parent]
            degrees = np.bincount(one.parents[i][one.parents[i] >= 0], minlength=parent.rows)
            before = [
                np.bincount(one.parents[j][one.parents[j] >= 0], minlength=parent.rows)
                for j in range(i)
                if one.keys[j].parent == key.parent and not one.plan.deferred[i] and not one.plan.deferred[j]
            ]
            features = degree_features(self.tokens[key.parent], self.contexts[key.parent], before)
            kept = self.model.tables[name].keys[i]
            code = own_code(self.model, name, i, self.tokens[key.parent])
            kept.degrees = DegreeModel.fit(
                degrees,
                features,
                code,
                kept.degrees.unique,
                self.settings.extreme_entities,
                stream(self.seed, "degrees", name, i),
                key.parent in self.model.kept,
            )
            self.listener(Progress("train", name, i + 1, len(one.keys), "degrees learned"))

    def _partners(self, name: str, one: PreparedTable) -> None:
        """Learn which parents go together, for the keys whose parents are drawn by links."""
        fewest = self.config.privacy.rare_category_entities
        for i in self.model.tables[name].reference_keys:
            parent = one.keys[i].parent
            features = parent_features(self.tokens[parent], self.contexts[parent])
            self.model.tables[name].keys[i].partners = Partners.fit(one, i, self.prepared, features, fewest, self.seed)

    def _networks(self, name: str, one: PreparedTable, weights: dict[str, int]) -> None:
        table = self.model.tables[name]
        deadline = self._deadline(weights[name] / max(sum(weights.values()), 1))
        sequence = one.sequence if table.sequential else None
        if table.reference_keys and one.rows and name not in self.model.skeletons:
            parents = {i: one.parents[i] for i in table.reference_keys}
            tokens = link_tokens(self.model, name, parents, self.tokens, self.contexts)
            sizes = [table.keys[i].link_sizes for i in table.reference_keys]
            shape = self._shape(
                [size for of_key in sizes for size in of_key],
                [number for number, of_key in enumerate(sizes) for _ in of_key],
                owner_sizes(self.model, name),
                sequence,
            )
            context = self._owner_context(name, one)
            examples = Examples(tokens, None, context, sequence, one.held_out)
            table.link_network = self._train(name, "links", shape, examples, deadline)
        if self.tokens[name].shape[1] and one.rows:
            shape = self._shape(self.model.slot_sizes(name), self.model.slot_columns(name), self.model.context_sizes(name), sequence)
            learned = None if self.learned[name].all() else self.learned[name]
            positions = self.model.slot_positions(name), self.model.context_positions(name)
            hidden = len(self.model.hidden_sizes(name))
            examples = Examples(self.tokens[name], learned, self.contexts[name], sequence, one.held_out, *positions, summaries=hidden)
            if self.model.summaries_of(name) and sequence is None:
                examples = with_rare_hubs(examples, self._children(name))
            table.row_network = self._train(name, "rows", shape, examples, deadline)

    def _calibrate(self, name: str, trial: Trial) -> None:
        """Where the clock has cut a training short there is no time for it."""
        training = self.model.tables[name].trainings.get("rows")
        if training is None or training.cut_short:
            return
        told = self.tokens[name], self.learned[name], self.contexts[name]
        calibrate(self.model, name, trial, *told, self.seed, self.device, self.listener)

    def _children(self, name: str) -> NDArray[np.int64]:
        """How many rows refer to each row of a table, along all keys that are summarised."""
        found = np.zeros(self.prepared[name].rows, dtype=np.int64)
        for other in self.prepared.values():
            for key, parents, deferred in zip(other.keys, other.parents, other.plan.deferred, strict=True):
                if key.parent == name and not deferred:
                    found += np.bincount(parents[parents >= 0], minlength=len(found))
        return found

    def _owner_context(self, name: str, one: PreparedTable) -> Context:
        owner = self.model.tables[name].owner
        parents = np.full(one.rows, -1) if owner is None else one.parents[owner]
        return owner_context(self.model, name, parents, self.tokens)

    def _shape(self, slots: list[int], columns: list[int], context: list[int], sequence: NDArray[np.int64] | None) -> NetworkShape:
        embedding, hidden = self.size.embedding, self.size.hidden
        wide = len(slots)
        while wide > MOST_SLOTS and hidden > NARROWEST:
            embedding, hidden, wide = embedding // 2, hidden // 2, wide // 2
        return NetworkShape(tuple(slots), tuple(columns), tuple(context), sequence is not None, embedding, hidden, self.size.recurrent)

    def _train(self, name: str, part: str, shape: NetworkShape, examples: Examples, deadline: float | None) -> RowNetwork:
        def report(epoch: int, epochs: int, loss: float, held_out: float, speed: float, left: float) -> None:
            facts = {"loss": round(loss, 4), "held-out loss": round(held_out, 4), "rows/s": round(speed)}
            self.listener(Progress("train", f"{name} {part}", epoch, epochs, "epoch", left, facts))

        steps = self.size.steps if part == "rows" else self.size.steps // 2  # links are few tokens
        wanted, seed = self.config.training, stream(self.seed, "train", name, part) % (1 << 31)
        schedule = Schedule(wanted.max_epochs, steps, deadline, seed, any_order=wanted.any_order)
        network, result = train_together(shape, examples, schedule, self.device, report)
        self.model.tables[name].trainings[part] = result
        return network

    def _deadline(self, share: float) -> float | None:
        """When this table's training has to end: its share of what is left of the time budget."""
        budget = self.config.training.time_budget_seconds
        if budget is None:
            return None
        now = time.monotonic()
        return now + max(budget - (now - self.began), 0.0) * share


def with_rare_hubs(examples: Examples, children: NDArray[np.int64]) -> Examples:
    """The examples, with rows of a rare first summary code repeated where their share of the `children` (of each row) is a multiple of
    their share of the rows: a hub that most children refer to must not go unlearned because it is one row of thousands. Other rows
    would only be learned by heart. The code itself is learned once, so its share stays true."""
    code = examples.tokens[:, 0]
    training = np.flatnonzero(~examples.held_out)
    count, below = (np.bincount(code[training], weights, int(code.max()) + 1) for weights in (None, children[training]))
    weight = (below / max(below.sum(), 1)) / np.maximum(count / max(len(training), 1), 1e-9)
    copies = np.clip(np.minimum(ROWS_PER_CODE / np.maximum(count, 1), weight), 1, MOST_COPIES).astype(np.int64) - 1
    more = np.repeat(training, copies[code[training]])
    if not len(more):
        return examples
    rows = np.r_[np.arange(len(code)), more]
    learn = np.ones(examples.tokens.shape, np.bool_) if examples.learn is None else examples.learn
    learn = learn[rows]
    learn[len(code) :, 0] = False
    return Examples(
        examples.tokens[rows],
        learn,
        examples.context.of(rows),
        None,
        examples.held_out[rows],
        examples.slot_positions,
        examples.context_positions,
        len(more),
        examples.summaries,
    )


def degree_features(tokens: NDArray[np.int32], context: Context, before: list[NDArray[np.int64]]) -> NDArray[np.int32]:
    """What a degree is conditioned on, shape (parents, features)."""
    drawn = np.stack(before, axis=1).astype(np.int32) if before else np.zeros((len(tokens), 0), np.int32)
    return np.concatenate([parent_features(tokens, context), drawn], axis=1)


def parent_features(tokens: NDArray[np.int32], context: Context) -> NDArray[np.int32]:
    """What is known of a parent when its children are linked: its row and the nearest of its ancestors' tokens."""
    return np.concatenate([tokens, context.nearest(NEAREST_CONTEXT)], axis=1)


def summary_slots(model: Model, name: str, key: int) -> tuple[int, int]:
    """Where a parent's tokens hold the summary of its children along a key of table `name`."""
    parent = model.tables[name].keys[key].key.parent
    at = [(child, i) for child, i, _ in model.summaries_of(parent)].index((name, key))
    first = 2 * at + (model.tables[parent].joint_codes is not None)
    return first, first + 1


def own_code(model: Model, name: str, key: int, tokens: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """Each parent's first summary code along a key, or None where the key has none."""
    if model.tables[name].keys[key].summary is None:
        return None
    return tokens[:, summary_slots(model, name, key)[0]]


def link_codes(model: Model, name: str, key: int, tokens: NDArray[np.int32], context: Context) -> NDArray[np.int64]:
    """For each parent along a key the tokens of a link to it, shape (parents, `KeyModel.link_sizes`)."""
    partners = model.tables[name].keys[key].partners
    summary = tokens[:, list(summary_slots(model, name, key))].astype(np.int64)
    if partners is None:
        return summary
    return np.concatenate([1 + partners.codes(parent_features(tokens, context))[:, None], summary], axis=1)


def link_tokens(
    model: Model,
    name: str,
    parents: Mapping[int, NDArray[np.int64]],
    tokens: Mapping[str, NDArray[np.int32]],
    contexts: Mapping[str, Context],
) -> NDArray[np.int32]:
    """The tokens of the links of every row, 0 where there is no parent; shape (rows, tokens of all references)."""
    blocks = []
    for i, at in parents.items():
        parent = model.tables[name].keys[i].key.parent
        source = link_codes(model, name, i, tokens[parent], contexts[parent])
        codes = source[np.maximum(at, 0)] if len(source) else np.zeros((len(at), source.shape[1]), np.int64)
        blocks.append(np.where((at >= 0)[:, None], codes, 0))
    return np.concatenate(blocks, axis=1).astype(np.int32)


def owner_sizes(model: Model, name: str) -> list[int]:
    """Vocabulary sizes of the owner's tokens as context of the link network."""
    owner = model.tables[name].owner
    return [] if owner is None else [size + 1 for size in model.slot_sizes(model.tables[name].keys[owner].key.parent)]


def owner_context(model: Model, name: str, parents: NDArray[np.int64], tokens: Mapping[str, NDArray[np.int32]]) -> Context:
    """What the link network is told of each row: its owner's tokens."""
    owner = model.tables[name].owner
    if owner is None:
        return Context(len(parents))
    return Context(len(parents), (parents,), (tokens[model.tables[name].keys[owner].key.parent],))


def _has_siblings(one: PreparedTable) -> bool:
    return one.sequence is not None and bool((one.sequence[1:] == one.sequence[:-1]).any())


def _followed_column(one: PreparedTable, generators: Mapping[str, KeyGenerator]) -> str | None:
    """The moment along which a primary key rises in the source, if there is one."""
    rising = [column for column, keys in generators.items() if keys.ascending]
    if one.order_column is None or not rising or one.rows < 20:
        return None
    some = np.sort(np.random.default_rng(0).permutation(one.rows)[:MOST_COMPARED])
    moment = one.moments[one.order_column][some]
    known = np.isfinite(moment)
    in_order = pc.array_sort_indices(one.data[rising[0]].take(pa.array(some[known]))), np.argsort(moment[known], kind="stable")
    ranks = [np.argsort(np.asarray(order)) for order in in_order]
    return one.order_column if known.sum() > 10 and np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.9 else None
