"""Rare values take the place of frequent ones that go with the same others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.category import NULL, RARE
from synth_engine.encode.rare import place_rare_values
from synth_engine.encode.table import TableEncoder
from synth_engine.schema import Column, Kind

SETTINGS = EncodingSettings()
COUNTRIES = 4


def columns(*names: str) -> list[Column]:
    return [Column(name, Kind.CATEGORY, "string", True) for name in names]


def placed(data: dict[str, pa.Array], others: tuple[np.ndarray, ...] = (), seed: int = 0) -> tuple[TableEncoder, np.ndarray, np.ndarray]:
    """The encoder, and the tokens before and after."""
    rows = len(next(iter(data.values())))
    encoder = TableEncoder.fit(columns(*data), data, {}, np.arange(rows), SETTINGS, 0)
    tokens, _ = encoder.encode(data, {})
    after = tokens.copy()
    place_rare_values(after, encoder, data, [other.__getitem__ for other in others], seed)
    return encoder, tokens, after


def cities() -> tuple[dict[str, pa.Array], np.ndarray]:
    """Of every country a capital, ten towns of 20 rows each and 100 villages of 2; and the country of each row."""
    size = np.r_[400, np.full(10, 20), np.full(100, 2)]
    country = np.repeat(np.arange(COUNTRIES), size.sum())
    city = [f"{c} {i}" for c in range(COUNTRIES) for i in np.repeat(np.arange(len(size)), size)]
    other = np.random.default_rng(0).integers(0, 3, len(country))
    return {"other": pa.array(other.astype(str)), "country": pa.array(country.astype(str)), "city": pa.array(city)}, country


def values_of(encoder: TableEncoder, tokens: np.ndarray, name: str) -> list[str]:
    """What tokens of a category stand for."""
    column = next(c for c in encoder.columns if c.column.name == name)
    return [column.encoder.values.to_pylist()[token - 2] for token in tokens[:, column.slots[0]]]


def test_a_rare_value_comes_out_as_one_that_goes_with_the_same_others():
    data, country = cities()
    encoder, _, after = placed(data)
    assert [name.split()[0] for name in values_of(encoder, after, "city")] == country.astype(str).tolist()


def test_a_column_that_says_the_same_in_other_words_hides_nothing_and_stays_with_it():
    data, country = cities()
    data["postcode"] = pa.array([f"P{name}" for name in data["city"].to_pylist()])
    encoder, _, after = placed(data)
    city = values_of(encoder, after, "city")
    assert [name.split()[0] for name in city] == country.astype(str).tolist()
    assert values_of(encoder, after, "postcode") == [f"P{name}" for name in city]


def test_what_is_rare_elsewhere_is_no_likeness():
    """Ten rows of one town have postcodes of their own, as all villages have: not all villages become that town."""
    data, country = cities()
    postcode = np.array([f"P{name}" for name in data["city"].to_pylist()], dtype=object)
    town = np.flatnonzero(np.array(data["city"].to_pylist()) == "0 1")[:10]
    postcode[town] = [f"own {i}" for i in range(10)]
    data["postcode"] = pa.array(postcode)
    encoder, _, after = placed(data)
    city = values_of(encoder, after, "city")
    assert city.count("0 1") < 60
    assert [name.split()[0] for name in city] == country.astype(str).tolist()


def test_values_that_are_rare_together_come_out_as_such_that_go_together():
    region = np.r_[np.repeat(np.arange(20), 60), np.repeat(np.arange(20, 120), 4)]
    town = region * 10 + np.r_[np.tile(np.repeat(np.arange(3), 20), 20), np.tile(np.repeat(np.arange(2), 2), 100)]
    encoder, before, after = placed({"town": pa.array(town.astype(str)), "region": pa.array(region.astype(str))})
    assert (before == RARE).all(axis=1).sum() == 400
    regions = [int(name) // 10 for name in values_of(encoder, after, "town")]
    assert regions == [int(name) for name in values_of(encoder, after, "region")]


def test_siblings_are_known_in_long_tables():
    """Twenty thousand parents of ten rows each, of which one has a rare value."""
    rng = np.random.default_rng(0)
    parent = np.repeat(np.arange(20_000), 10)
    mark = np.char.add("m", rng.integers(0, 500, 20_000)[parent].astype(str)).astype(object)
    mark[::10] = np.where(rng.random(20_000) < 0.5, [f"only {i}" for i in range(20_000)], mark[::10])
    _, before, after = placed({"mark": pa.array(mark)}, (parent,))
    rare = np.flatnonzero(before[:, 0] == RARE)
    assert (after[rare, 0] == after[rare + 1, 0]).mean() > 0.99


def test_so_it_does_where_only_the_row_it_refers_to_tells():
    data, country = cities()
    del data["country"]
    encoder, _, after = placed(data, (country,))
    assert [name.split()[0] for name in values_of(encoder, after, "city")] == country.astype(str).tolist()


def test_the_most_frequent_values_keep_their_shares_and_less_frequent_ones_share_the_rest():
    data, _ = cities()
    encoder, _, after = placed(data)
    counts = Counter(values_of(encoder, after, "city"))
    assert all(counts[f"{c} 0"] == 400 for c in range(COUNTRIES))
    towns = [counts[f"{c} {i}"] for c in range(COUNTRIES) for i in range(1, 11)]
    assert min(towns) >= 34 and max(towns) <= 46  # 20 of their own, 20 of villages


def test_all_rows_of_a_value_get_the_same_and_no_others_change():
    data, _ = cities()
    _, before, after = placed(data)
    rare = before[:, 2] == RARE
    assert rare.sum() == 800 and not (after[:, 2] == RARE).any()
    assert (after[~rare] == before[~rare]).all() and (after[:, :2] == before[:, :2]).all()
    village = np.array(data["city"].to_pylist())[rare]
    assert all(len(set(after[rare, 2][village == name].tolist())) == 1 for name in np.unique(village))


def test_the_same_seed_places_alike():
    data, _ = cities()
    assert (placed(data, seed=3)[2] == placed(data, seed=3)[2]).all()
    assert (placed(data, seed=3)[2] != placed(data, seed=4)[2]).any()


def test_nulls_stay_nulls_and_one_frequent_value_takes_all():
    names = pa.array([None] * 5 + ["often"] * 20 + [f"once {i}" for i in range(5)])
    _, _, after = placed({"name": names})
    assert (after[:5, 0] == NULL).all() and (after[25:, 0] == after[5, 0]).all()
