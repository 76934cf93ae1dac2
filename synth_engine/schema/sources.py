"""The files a schema can be told in, told apart by their content: the product's YAML, SDV metadata, a dbt manifest."""

from __future__ import annotations

from pathlib import Path

from synth_engine.schema.dbt import facts_of_manifest, is_dbt_artefact
from synth_engine.schema.files import SchemaFile, load_schema_file, parse_schema_file
from synth_engine.schema.model import Schema


def read_schema_source(path: str | Path, schema: Schema, source_schema: str | None = None) -> SchemaFile:
    """What the file says about the tables of `schema`; a dbt manifest is read for those of its nodes in `source_schema`.

    Raises `ConfigurationError` with every fault of the file.
    """
    raw = load_schema_file(path)
    if is_dbt_artefact(raw):
        return facts_of_manifest(str(path), raw, schema, source_schema)
    return parse_schema_file(path, raw)
