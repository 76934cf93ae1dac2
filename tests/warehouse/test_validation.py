"""The engine that Great Expectations gets over DuckDB."""

from __future__ import annotations

import duckdb
import sqlalchemy as sa

from synth_engine.warehouse.validation import engine_over


def test_columns_and_tables_may_be_called_by_any_word_of_the_language() -> None:
    with duckdb.connect() as connection:
        words = [word for (word,) in connection.execute("SELECT DISTINCT keyword_name FROM duckdb_keywords()").fetchall()]
        columns = ", ".join(f'{place} AS "{word}"' for place, word in enumerate(words))
        for word in words:
            connection.execute(" ".join(["CREATE TABLE", f'"{word}"', "AS SELECT", columns]))
        engine = engine_over(connection.cursor)
        with engine.connect() as asking:
            for place, word in enumerate(words):
                of_word = sa.table(word, sa.column(word)).c[word]
                assert asking.execute(sa.select(of_word).where(of_word == place)).scalar() == place, word
        engine.dispose()
