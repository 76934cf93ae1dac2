"""Rare values take the place of frequent ones that go with the same others."""

from __future__ import annotations

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


def placed(data: dict[str, pa.Array], parents: tuple[np.ndarray, ...] = (), seed: int = 0) -> tuple[TableEncoder, np.ndarray, np.ndarray]:
    """The encoder, and the tokens before and after."""
    rows = len(next(iter(data.values())))
    encoder = TableEncoder.fit(columns(*data), data, {}, np.arange(rows), SETTINGS, 0)
    tokens, _ = encoder.encode(data, {})
    after = tokens.copy()
    place_rare_values(after, encoder, data, parents, seed)
    return encoder, tokens, after


def cities() -> tuple[dict[str, pa.Array], np.ndarray]:
    """Of every country a capital, ten towns of 20 rows each and 100 villages of 2; and the country of each row."""
    size = np.r_[400, np.full(10, 20), np.full(100, 2)]
    country = np.repeat(np.arange(COUNTRIES), size.sum())
    city = [f"{c} {i}" for c in range(COUNTRIES) for i in np.repeat(np.arange(len(size)), size)]
    other = np.random.default_rng(0).integers(0, 3, len(country))
    return {"other": pa.array(other.astype(str)), "country": pa.array(country.astype(str)), "city": pa.array(city)}, country


def test_a_rare_value_comes_out_as_one_that_goes_with_the_same_others():
    data, country = cities()
    encoder, _, after = placed(data)
    found = np.array([name.split()[0] for name in encoder.columns[2].encoder.values.to_pylist()]).astype(int)[after[:, 2] - 2]
    assert (found == country).all()


def test_so_it_does_where_only_the_row_it_refers_to_tells():
    data, country = cities()
    del data["country"]
    encoder, _, after = placed(data, (country,))
    found = np.array([name.split()[0] for name in encoder.columns[1].encoder.values.to_pylist()]).astype(int)[after[:, 1] - 2]
    assert (found == country).all()


def test_the_most_frequent_values_keep_their_shares_and_less_frequent_ones_share_the_rest():
    data, _ = cities()
    encoder, _, after = placed(data)
    names = encoder.columns[2].encoder.values.to_pylist()
    counts = dict(zip(names, np.bincount(after[:, 2], minlength=2 + len(names))[2:].tolist(), strict=True))
    assert all(counts[f"{c} 0"] == 400 for c in range(COUNTRIES))
    towns = [counts[f"{c} {i}"] for c in range(COUNTRIES) for i in range(1, 11)]
    assert min(towns) >= 30 and max(towns) <= 50  # 20 of their own, 20 of villages


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
