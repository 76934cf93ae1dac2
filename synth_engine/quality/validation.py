"""Great Expectations over the staged tables, before anything is published."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from synth_engine.config import Validation
from synth_engine.quality.expectations import KEY_CHECKS, Suite, suites  # before great_expectations: it switches the analytics off
from synth_engine.quality.offline import make_offline
from synth_engine.quality.profile import Profile
from synth_engine.quality.staged import catalogue
from synth_engine.schema import Schema

import great_expectations as gx  # isort: skip
from great_expectations.data_context.types.base import ProgressBarsConfig  # isort: skip
from great_expectations.datasource.fluent import SQLDatasource  # isort: skip
from great_expectations.execution_engine import SqlAlchemyExecutionEngine  # isort: skip
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData  # isort: skip

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.core.batch import BatchMarkers, BatchSpec
    from great_expectations.data_context import FileDataContext
    from sqlalchemy import Engine

DOCS = "gx/uncommitted/data_docs/local_site/index.html"
"""The Data Docs' first page, relative to the folder given to `validate_staged`."""

RESULT_FORMAT = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
}
"""Counts only: no value of a row reaches results, logs or Data Docs, nor does a query for them (which the library cannot write where a
name has a question mark)."""

_ENGINE: ContextVar[Engine] = ContextVar("engine of the staged tables")


class _StagedRows(SqlAlchemyExecutionEngine):
    """Hands each query to SQLAlchemy once, and says which columns it has.

    The library itself would send the text through `sqlalchemy.text` twice, which doubles percent signs and takes what
    follows an escaped colon for a parameter; and it would run the whole query to read the names of its columns.
    """

    def get_batch_data_and_markers(self, batch_spec: BatchSpec) -> tuple[SqlAlchemyBatchData, BatchMarkers]:
        _, markers = super().get_batch_data_and_markers(batch_spec)
        batch = SqlAlchemyBatchData(execution_engine=self, query=str(batch_spec["query"]), create_temp_table=False)
        query: sa.TextClause = batch.selectable
        with self.engine.connect() as connection:
            names = connection.execute(sa.select(sa.text("*")).select_from(query.columns().subquery()).limit(0)).keys()
        # The attribute by which the library asks a query for its columns; it wants a type, but no expectation here uses it.
        query.selected_columns = query.columns(*(sa.column(name, sa.String) for name in names)).selected_columns  # type: ignore[attr-defined]
        return batch, markers


class StagedTables(SQLDatasource):
    """A data source on the engine of the running validation: nothing about the connection is written to disk, and an
    in-memory database stays the same database."""

    type: Literal["staged_tables"] = "staged_tables"  # type: ignore[assignment]
    connection_string: str = "engine-of-the-running-validation://"

    def get_engine(self) -> Engine:
        return _ENGINE.get()

    def get_execution_engine(self) -> SqlAlchemyExecutionEngine:
        if self._execution_engine is None:
            self._execution_engine = _StagedRows(engine=_ENGINE.get(), create_temp_table=False)
        return self._execution_engine


@dataclass(frozen=True)
class Failure:
    """`table` breaks `expectation` (in words) `count` times; None where the expectation has no count, but a `detail`."""

    table: str
    expectation: str
    count: int | None
    detail: str | None = None

    def __str__(self) -> str:
        told = [f"{self.count} break it"] if self.count is not None else []
        told += [self.detail] if self.detail else []
        return f"{self.table}: {self.expectation}" + (f" ({', '.join(told)})" if told else "")


@dataclass(frozen=True)
class ValidationOutcome:
    """`checks` counts the expectations by sort: primary key, foreign key, range …"""

    passed: bool
    expectations: int
    failures: tuple[Failure, ...]
    checks: dict[str, int]

    @property
    def keys_checked(self) -> int:
        """How many keys an expectation was held against."""
        return sum(self.checks.get(check, 0) for check in KEY_CHECKS)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form with `keys_checked`; holds names and counts, no value of a row."""
        return {**asdict(self), "keys_checked": self.keys_checked}


def validate_staged(
    engine: Engine, staging: str, schema: Schema, profile: Profile, expected_rows: Mapping[str, int], settings: Validation, docs_folder: str
) -> ValidationOutcome:
    """Check every staged table of `schema` and write Data Docs below `docs_folder`, a local folder.

    Failed expectations are returned, not raised.
    """
    staged = catalogue(engine, staging)
    failures = [Failure(name, "the table is staged", None, "it is missing") for name in schema.tables if name not in staged]
    planned = suites(engine, staging, schema, profile, expected_rows, settings, staged)
    with _context(docs_folder, engine) as context:
        results = _run(context, planned) if planned else []
    make_offline((Path(docs_folder) / DOCS).parent)
    checks = Counter(str((e.meta or {})["check"]) for suite in planned for e in suite.expectations)
    failures += [_failure(suite, result) for suite, found in results for result in found if not result.success]
    return ValidationOutcome(not failures, sum(checks.values()), tuple(failures), dict(checks))


@contextmanager
def _context(folder: str, engine: Engine) -> Iterator[FileDataContext]:
    token = _ENGINE.set(engine)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the library's own internals
            context = gx.get_context(mode="file", project_root_dir=folder)
            context.variables.analytics_enabled = False
            context.variables.progress_bars = ProgressBarsConfig(globally=False)
            context.variables.save()
            yield context
    finally:
        _ENGINE.reset(token)


def _run(context: FileDataContext, planned: list[Suite]) -> list[tuple[Suite, list[ExpectationValidationResult]]]:
    source = context.data_sources.add_or_update_staged_tables(name="staged")
    definitions = {}
    for index, suite in enumerate(planned):
        name = _file_name(index, suite)
        batch = source.add_query_asset(name=name, query=suite.query).add_batch_definition_whole_table("whole")
        expected = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=list(suite.expectations)))
        definitions[name] = context.validation_definitions.add_or_update(gx.ValidationDefinition(name=name, data=batch, suite=expected))
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(name="staged", validation_definitions=list(definitions.values()), result_format=RESULT_FORMAT)
    )
    by_name = {str(result.suite_name): result for result in checkpoint.run().run_results.values()}
    context.build_data_docs()  # once: as an action of the checkpoint it would render the whole index for every table
    return [(suite, list(by_name[_file_name(index, suite)].results)) for index, suite in enumerate(planned)]


def _file_name(index: int, suite: Suite) -> str:
    """A name that is safe as a file's, whatever the table is called."""
    return f"{index:03d} {re.sub(r'[^A-Za-z0-9_]+', '_', suite.table)[:40]} {suite.aspect}"


def _failure(suite: Suite, result: ExpectationValidationResult) -> Failure:
    expected = result.expectation_config
    if expected is None:
        raise TypeError("a result names its expectation")
    rule = str((expected.meta or {})["rule"])
    if _raised(result):
        return Failure(suite.table, rule, None, "it could not be computed; the Data Docs of the validation hold the trace")
    found = result.result
    if "unexpected_count" in found:
        return Failure(suite.table, rule, int(found["unexpected_count"]))
    observed = found.get("observed_value")
    if expected.type == "expect_table_row_count_to_be_between":
        return Failure(suite.table, rule, None, f"it has {observed}")
    if expected.type == "expect_table_columns_to_match_ordered_list":
        return Failure(suite.table, rule, None, f"it has {', '.join(map(str, observed or []))}")
    return Failure(suite.table, rule, None, "the divergence is unbounded" if observed is None else f"the divergence is {observed:.3g}")


def _raised(result: ExpectationValidationResult) -> bool:
    info = result.exception_info or {}
    nested = [info, *(v for v in info.values() if isinstance(v, dict))]
    return any(entry.get("raised_exception") for entry in nested)
