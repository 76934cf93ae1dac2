"""Polymorphic references: type and id agree in every row, shares of types and degrees are the source's."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest

from synth_engine import SynthModel, infer_schema, train
from synth_engine.errors import ConfigurationError
from tests.blog import KEYS, LENGTH, blog, degrees, orphans

SETTINGS: dict[str, Any] = {
    "training": {"size": "small", "max_epochs": 1, "device": "cpu"},
    "privacy": {"rare_category_entities": 1, "extreme_value_entities": 1},
}
EVERY = [("about", "post"), ("about", "user"), ("about", "comment"), ("seen", 1), ("seen", 2)]


@cache
def model(tmp: Any, seed: int) -> SynthModel:
    path = tmp / "keys.yaml"
    path.write_text(KEYS)
    return train(blog(seed), path, seed=seed, settings=SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("polymorphic")


def frames(tables: Any) -> dict[str, pd.DataFrame]:
    return {name: table.to_pandas() for name, table in tables.items()}


@pytest.mark.parametrize("seed", range(4))
def test_every_id_is_in_the_table_its_type_says_and_degrees_are_the_source_s(folder: Any, seed: int) -> None:
    real, twin = blog(seed), frames(model(folder, seed).generate(seed=seed))
    assert list(twin["comments"].columns) == list(real["comments"].columns)
    assert orphans(twin) == 0
    assert [degrees(twin, *which) for which in EVERY] == [degrees(real, *which) for which in EVERY]
    for reference in ("about", "seen"):
        assert twin["comments"][f"{reference}_id"].isna().sum() == real["comments"][f"{reference}_id"].isna().sum()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rows", [{"comments": 7}, {"comments": 511, "posts": 90}, {"users": 3}, {"comments": 1}, {"comments": 0}])
def test_shares_of_types_are_kept_in_any_number_of_rows(folder: Any, seed: int, rows: dict[str, int]) -> None:
    real, twin = blog(seed)["comments"], frames(model(folder, seed).generate(rows, seed=1))
    made = twin["comments"]
    assert orphans(twin) == 0
    assert made["seen_id"].notna().all() and made["seen_type"].notna().all()
    for reference in ("about", "seen"):
        refers, referred = (rows_of[f"{reference}_id"].notna() for rows_of in (made, real))
        for of, count in real.loc[referred, f"{reference}_type"].value_counts().items():
            found = int((made.loc[refers, f"{reference}_type"] == of).sum())
            assert abs(found - count * len(made) / len(real)) <= 1


def test_rows_that_refer_to_nobody_have_a_type_that_such_rows_have_in_the_source(folder: Any) -> None:
    for seed in range(4):
        made = frames(model(folder, seed).generate(seed=2))["comments"]
        assert set(made.loc[made["about_id"].isna(), "about_type"].fillna("")) <= {"post", "page", ""}


def test_the_type_goes_with_the_other_columns(folder: Any) -> None:
    path = folder / "long.yaml"
    path.write_text(KEYS)
    trained = train(blog(1, 700), path, settings={**SETTINGS, "training": {"size": "small", "max_epochs": 30, "device": "cpu"}})
    made = frames(trained.generate())["comments"]
    for of, length in LENGTH.items():
        assert abs(made.loc[(made["about_type"] == of) & made["about_id"].notna(), "length"].mean() - length) < 12


def test_references_to_the_own_table_close_no_cycle(folder: Any) -> None:
    made = frames(model(folder, 0).generate(seed=3))["comments"].set_index("id")
    own = made["about_id"].where(made["about_type"] == "comment").dropna().astype(int).to_dict()
    for start in own:
        seen, at = {start}, own[start]
        while at in own:
            assert at not in seen
            seen.add(at)
            at = own[at]


def test_the_same_seed_gives_the_same_rows_and_a_saved_model_too(folder: Any) -> None:
    trained = model(folder, 0)
    trained.save(str(folder / "model"))
    assert SynthModel.load(str(folder / "model")).generate(seed=5) == trained.generate(seed=5)


def test_the_source_s_graph_can_be_kept(folder: Any) -> None:
    real, trained = blog(0), train(blog(0), folder / "keys.yaml", settings={**SETTINGS, "structure": "original"})
    twin = frames(trained.generate())
    assert orphans(twin) == 0
    assert [degrees(twin, *which) for which in EVERY] == [degrees(real, *which) for which in EVERY]


def test_a_kept_table_loses_its_references_to_what_is_synthesised(folder: Any) -> None:
    real, path = blog(0), folder / "loose.yaml"
    path.write_text("\n".join(line for line in KEYS.splitlines() if "seen_type" not in line))
    settings = {**SETTINGS, "keep": ["comments", "users"]}
    twin = frames(train(real, path, settings=settings).generate(kept={name: real[name] for name in ("comments", "users")}))
    of, ids = real["comments"]["about_type"], real["comments"]["about_id"]
    assert twin["comments"]["about_id"].tolist() == ids.where(of != "post", None).tolist()
    with pytest.raises(ConfigurationError, match=r"comments cannot be kept while posts is synthesised: comments\.seen_type\+seen_id"):
        train(real, folder / "keys.yaml", settings=settings)


def test_a_unique_key_of_type_and_id_holds_no_row_twice(folder: Any) -> None:
    real = blog(3)
    stars = real["comments"][["writer", "seen_type", "seen_id"]].dropna().drop_duplicates().reset_index(drop=True)
    path = folder / "stars.yaml"
    path.write_text(KEYS.split("  comments:")[0] + STARS)
    twin = frames(train({**real, "stars": stars}, path, settings=SETTINGS).generate())["stars"]
    assert len(twin) == len(stars) and not twin.duplicated().any()


STARS = """  stars:
    primary_key: [writer, seen_type, seen_id]
    foreign_keys: [{columns: [writer], references: {table: users, columns: [id]}}]
    polymorphic: [{type: seen_type, id: seen_id, parents: {1: posts.id, 2: users.id}}]
"""


def test_without_rows_to_refer_to_the_request_is_refused_and_the_key_named(folder: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"key comments.about_id\[post\]->posts needs a parent"):
        model(folder, 0).generate({"posts": 0, "comments": 20})


def test_the_schema_of_the_twin_is_the_one_that_was_given(folder: Any) -> None:
    trained = model(folder, 0)
    assert trained.schema == infer_schema(blog(0), folder / "keys.yaml")
    assert trained.generate()["comments"].schema.names == list(blog(0)["comments"].columns)


def test_a_unique_key_with_a_reference_to_the_own_table_holds_no_row_twice(folder: Any) -> None:
    real = blog(0)
    unique = ["writer", "about_type", "about_id"]
    repeated = real["comments"].duplicated(unique) & real["comments"][["writer", "about_id"]].notna().all(axis=1)
    real["comments"].loc[repeated, "writer"] = None
    path = folder / "unique.yaml"
    path.write_text(KEYS.replace("  comments:\n", f"  comments:\n    unique: [[{', '.join(unique)}]]\n"))
    trained = train(real, path, settings=SETTINGS)
    for seed in range(3):
        twin = frames(trained.generate(seed=seed))
        assert orphans(twin) == 0
        assert not twin["comments"].dropna(subset=unique).duplicated(unique).any()
