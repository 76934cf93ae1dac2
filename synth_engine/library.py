"""The engine from Python, on DataFrames or Arrow tables: `train`, `generate`, and a model that saves and loads."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, SourceDataError
from synth_engine.progress import Listener, ignore
from synth_engine.schema import Column, Schema, Table
from synth_engine.schema.checks import check_settings
from synth_engine.schema.kept import with_kept_tables
from synth_engine.schema.sources import apply_schema_sources
from synth_engine.schema.types import arrow_schema, default_kind, from_arrow, to_arrow
from synth_engine.workspace import Manifest, Workspace, versions

if TYPE_CHECKING:
    import pandas as pd

    from synth_engine.model.state import Model

    AnyTable: TypeAlias = pd.DataFrame | pa.Table


SchemaFiles: TypeAlias = str | Path | Sequence[str | Path]
"""The path of a schema file, or of several."""

NOT_FOR_ARROW = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What Arrow raises at values that it cannot hold in one column."""

NOT_HERE = {
    "rows": "pass rows to generate",
    "key_start": "pass key_start to generate",
    "links": "pass temperature to generate",
    "policy": "mend the tables before training: leave out rows that break a key or lack a value that must be there, or empty foreign keys "
    "that may be null",
    "source": "pass the tables",
    "target": "write what generate returns",
}
"""Settings of a whole run that training on tables does not heed, and what to do instead."""


def infer_schema(tables: Mapping[str, AnyTable], schema_file: SchemaFiles | None = None, *, infer_keys: bool = False) -> Schema:
    """The schema of some tables: types and kinds from the data, keys from a schema file (YAML, SDV metadata, dbt manifest) or
    several, of which later ones correct earlier ones.

    `infer_keys` also takes keys that the data gives away where the files say nothing. Raises `ConfigurationError` with every
    fault of the files.
    """
    return _inferred(_as_arrow(tables), schema_file, infer_keys)


def train(
    tables: Mapping[str, AnyTable],
    schema: Schema | SchemaFiles | None = None,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    listener: Listener = ignore,
) -> SynthModel:
    """Learn tables given by name.

    `schema` is a `Schema`, the path of a schema file or of several, or None for tables without keys. `settings` are those of a
    configuration file (for example `{"training": {"size": "small"}}`). Keys the tables break are an error:
    `SourceDataError` tells which; wrong settings raise `ConfigurationError` with all faults.
    """
    from synth_engine.model.learning import learn

    ignored = [f"settings.{name}: it has no meaning here. Next step: {what}" for name, what in NOT_HERE.items() if name in (settings or {})]
    if ignored:
        raise ConfigurationError(ignored)
    config = Config.build(dict(settings or {}), {"seed": seed})
    arrow = _as_arrow(tables)
    if isinstance(schema, Schema) and config.infer_keys:
        raise ConfigurationError(
            ["settings.infer_keys: a Schema is taken as it is. Next step: make it with infer_schema(..., infer_keys=True)"]
        )
    found = schema if isinstance(schema, Schema) else _inferred(arrow, schema, config.infer_keys, config.keep)
    missing = [
        f"tables.{name}: the schema has this table, the data does not. Next step: pass it" for name in found.tables if name not in arrow
    ]
    missing += _missing_columns(found, arrow, "tables")
    if missing:
        raise ConfigurationError(missing)
    found = with_kept_tables(check_settings(found, config), config.keep)
    cast = _cast_all(arrow, found, "tables")
    _check_keys(found, cast, config)
    return SynthModel(learn(found, cast, config, listener), config)


def generate(
    model: SynthModel,
    rows: Mapping[str, int] | None = None,
    *,
    kept: Mapping[str, AnyTable] | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    key_start: Mapping[str, int] | None = None,
) -> dict[str, pa.Table]:
    """Synthetic tables by name, see `SynthModel.generate`."""
    return model.generate(rows, kept=kept, temperature=temperature, seed=seed, key_start=key_start)


class SynthModel:
    """A trained model. It holds statistics and weights, no row; with `structure: original` also which row referred to which."""

    def __init__(self, model: Model, config: Config) -> None:
        self._model, self._config = model, config

    @property
    def schema(self) -> Schema:
        """The schema it was trained on."""
        return self._model.twin

    @property
    def entities(self) -> list[str]:
        """Whom values are protected for, a sentence for each table whose rows are entities (see docs/configuration.md)."""
        return self._model.entities()

    @property
    def rules(self) -> list[str]:
        """What is kept to in every row of a twin since it holds in the source, a sentence each (see docs/configuration.md)."""
        return self._model.rules()

    def generate(
        self,
        rows: Mapping[str, int] | None = None,
        *,
        kept: Mapping[str, AnyTable] | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        listener: Listener = ignore,
        key_start: Mapping[str, int] | None = None,
    ) -> dict[str, pa.Table]:
        """Synthetic tables by name, as Arrow tables in the source's types.

        `rows` asks for numbers of rows by table; tables not named keep the source's number, scaled with their parents. A model
        that was trained to keep tables holds no row of them: pass them again as `kept`. A `temperature` below 1 spreads children
        less evenly over their parents, above 1 more evenly. `key_start` has the keys of a table count from a number on. The same
        seed gives the same tables. Raises `Terminal` naming the key that makes a request infeasible.
        """
        from synth_engine.model.generation import Generation

        links = Config.build({"links": {"temperature": temperature}}).links
        real = self._kept(_as_arrow(kept or {}, "kept"))
        made = Generation(
            self._model,
            rows or {},
            seed,
            self._config.training.device,
            listener,
            key_start=key_start,
            kept=real,
            temperature=links.temperature,
        ).run()
        return {name: pa.Table.from_batches(list(made.batches(name, self._config.generation_batch_rows))) for name in self._model.tables}

    def _kept(self, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """The tables as training saw them; what is wrong with their number is left to generation."""
        known = {name: data for name, data in tables.items() if name in self._model.kept}
        if missing := _missing_columns(self.schema, known, "kept"):
            raise ConfigurationError(missing)
        return {**tables, **_cast_all(known, self.schema, "kept")}

    def save(self, uri: str) -> None:
        """Write the model to a folder or object store, every file with its sha256."""
        from synth_engine.model.artefacts import write_model

        workspace = Workspace(uri)
        workspace.clear(workspace.model)
        write_model(self._model, workspace)
        files = workspace.describe_folder(workspace.model)
        workspace.finish(
            Manifest(
                "train",
                self._config.digest({}, "training", "privacy", "keep", "structure", "seed"),
                self.schema.fingerprint(),
                self._config.seed,
                {},
                files,
                {},
                versions(),
            )
        )

    @classmethod
    def load(cls, uri: str) -> SynthModel:
        """Read a model that was saved. Raises `CorruptArtefact` if a file is not the one that was written."""
        from synth_engine.model.artefacts import read_model

        workspace = Workspace(uri)
        manifest = workspace.require("train")
        workspace.verify(manifest)
        return cls(read_model(workspace), Config.build({"seed": manifest.seed}))


def _missing_columns(schema: Schema, tables: Mapping[str, pa.Table], argument: str) -> list[str]:
    return [
        f"{argument}.{name}.{column}: the schema has this column, the data does not. Next step: pass it"
        for name, table in schema.tables.items()
        if name in tables
        for column in table.column_names
        if column not in tables[name].column_names
    ]


def _as_arrow(tables: Mapping[str, AnyTable], argument: str = "tables") -> dict[str, pa.Table]:
    """What was passed as tables. Raises `ConfigurationError` with all that are none."""
    if not isinstance(tables, Mapping):
        raise ConfigurationError([f"{argument}: must be given by name. Found: {type(tables).__name__}. Next step: pass {{name: table, …}}"])
    faults = [
        f"{argument}.{name}: must be a pandas DataFrame or an Arrow table. Found: {type(table).__name__}. Next step: convert it"
        for name, table in tables.items()
        if not (isinstance(table, pa.Table) or _is_frame(table))
    ]
    faults += [
        f"{argument}.{name}: each column must have a name of its own. Found: {', '.join(map(repr, again))} again. Next step: rename one"
        for name, table in tables.items()
        if isinstance(table, pa.Table) or _is_frame(table)
        if (again := _repeated_names(table))
    ]
    if faults:
        raise ConfigurationError(faults)
    arrow = {}
    for name, table in tables.items():
        try:
            arrow[name] = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        except NOT_FOR_ARROW:  # what it says repeats a value
            faults += _faults_of_values(f"{argument}.{name}", table)
    faults += [fault for name, table in arrow.items() for fault in _faults_of_columns(f"{argument}.{name}", table)]
    if faults:
        raise ConfigurationError(faults)
    return arrow


def _faults_of_values(path: str, frame: pd.DataFrame) -> list[str]:
    """Columns of a DataFrame that Arrow has no type for."""
    faults = []
    for column in frame.columns:
        try:
            pa.Array.from_pandas(frame[column])
        except NOT_FOR_ARROW:
            rule = "all values must be of one type that Arrow has"
            faults.append(f"{path}.{column}: {rule}. Found: dtype {frame[column].dtype}. Next step: convert the column")
    return faults or [f"{path}: must be a table that Arrow can hold. Next step: pass it as an Arrow table"]


def _faults_of_columns(path: str, table: pa.Table) -> list[str]:
    if not table.num_columns:
        return [f"{path}: must have columns. Found: none. Next step: leave it out"]
    wide = [f.name for f in table.schema if f.type == pa.uint64() and (pc.max(table[f.name]).as_py() or 0) >= 2**63]
    return [f"{path}.{column}: whole numbers must be below 2^63. Next step: pass them as decimals or text" for column in wide]


def _repeated_names(table: AnyTable) -> list[str]:
    names = Counter(str(name) for name in (table.column_names if isinstance(table, pa.Table) else table.columns))
    return [name for name, times in names.items() if times > 1]


def _is_frame(table: object) -> bool:
    """Without loading pandas: those who pass Arrow tables need not have it, and without it there is no DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(table, pandas.DataFrame)


def _inferred(tables: Mapping[str, pa.Table], schema_file: SchemaFiles | None, with_keys: bool, kept: Collection[str] = ()) -> Schema:
    from synth_engine.statistics import refine_schema

    found = []
    for name, table in tables.items():
        columns = []
        for field, values in zip(table.schema, table.columns, strict=True):
            data_type = from_arrow(field.type)
            columns.append(Column(field.name, default_kind(data_type), data_type, values.null_count > 0))
        found.append(Table(name, tuple(columns)))
    files = () if schema_file is None else (schema_file,) if isinstance(schema_file, str | Path) else tuple(schema_file)
    schema, kinds = apply_schema_sources(Schema.of(found), files)
    refined, _ = refine_schema(schema, lambda table: _cast(tables[table.name], table).to_batches(), kinds, with_keys=with_keys, kept=kept)
    return refined


def _cast_all(tables: Mapping[str, pa.Table], schema: Schema, argument: str) -> dict[str, pa.Table]:
    """The tables of the schema in its types. Raises `ConfigurationError` with every column whose values its type cannot hold."""
    cast, faults = {}, []
    for name, table in ((name, table) for name, table in schema.tables.items() if name in tables):
        try:
            cast[name] = _cast(tables[name], table)
        except NOT_FOR_ARROW:  # what it says repeats a value
            faults += [
                f"{argument}.{name}.{column.name}: must hold values of type {column.data_type}, as the schema says. "
                f"Found: {tables[name].schema.field(column.name).type}. Next step: convert the column, or correct the schema"
                for column in table.columns
                if not _holds(tables[name][column.name], column)
            ]
    if faults:
        raise ConfigurationError(faults)
    return cast


def _holds(values: pa.ChunkedArray, column: Column) -> bool:
    try:
        values.cast(to_arrow(column.data_type), safe=False)
    except NOT_FOR_ARROW:
        return False
    return True


def _cast(data: pa.Table, table: Table) -> pa.Table:
    return data.select(list(table.column_names)).cast(arrow_schema(table), safe=False)


def _check_keys(schema: Schema, tables: Mapping[str, pa.Table], config: Config) -> None:
    from synth_engine.snapshot import mend_keys, write_table

    scratch = Workspace(f"memory://synth-keys-{uuid.uuid4().hex}")
    for name, table in schema.tables.items():
        write_table(scratch, scratch.snapshot(name), table, tables[name].to_batches())
    try:
        mend_keys(scratch, schema, config.policy.model_copy(update={"orphans": "fail", "duplicate_keys": "fail"}))
    except SourceDataError as error:  # here no policy mends them
        raise SourceDataError(
            "The tables must keep their own keys and hold a value where one must be", value=error.value, advice=NOT_HERE["policy"]
        ) from None
    finally:
        scratch.clear("")
