"""One settings object: layers are merged, everything is validated at once, credentials are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth_engine.config import Config, read_settings
from synth_engine.errors import ConfigurationError


def test_the_defaults_are_valid() -> None:
    assert Config.build() == Config()


def test_later_layers_win_and_sections_are_merged_key_by_key() -> None:
    config = Config.build({"training": {"max_epochs": 3, "size": "small"}, "seed": 1}, {"training": {"max_epochs": 5}})
    assert (config.training.max_epochs, config.training.size, config.seed) == (5, "small", 1)


def test_layers_are_left_as_they_were() -> None:
    layer = {"training": {"max_epochs": 3}}
    Config.build(layer, {"training": {"max_epochs": 5}})
    assert layer == {"training": {"max_epochs": 3}}


def test_a_file_is_read_and_overrides_win_over_it(tmp_path: Path) -> None:
    path = tmp_path / "synth.yaml"
    path.write_text("seed: 4\nrows: {orders: 10}\n")
    config = Config.build(read_settings(path), {"rows": {"customers": 3}})
    assert (config.seed, config.rows) == (4, {"orders": 10, "customers": 3})


def test_five_faults_are_told_at_once_each_with_its_path() -> None:
    faulty = {
        "seeds": 1,
        "rows": {"orders": "many"},
        "training": {"max_epochs": 0, "size": "huge"},
        "validation": {"row_count_tolerance": 2},
    }
    with pytest.raises(ConfigurationError) as raised:
        Config.build(faulty)
    paths = {fault.partition(":")[0] for fault in raised.value.faults}
    assert paths == {"seeds", "rows.orders", "training.max_epochs", "training.size", "validation.row_count_tolerance"}


@pytest.mark.parametrize("content", ["- a\n- b\n", "seed: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "synth.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"synth\.yaml"):
        read_settings(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        read_settings(tmp_path / "nowhere.yaml")


def test_credentials_are_in_neither_the_text_of_a_config_nor_its_faults() -> None:
    url = "postgresql://reader:canary@host/db"
    assert "canary" not in repr(Config.build({"source": url, "target": url}))
    with pytest.raises(ConfigurationError) as raised:
        Config.build({"source": [url], "target": {"url": url}})
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_is_a_number_above_zero(temperature: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^links\.temperature: "):
        Config.build({"links": {"temperature": temperature}})


def test_a_structure_is_sampled_or_original() -> None:
    with pytest.raises(ConfigurationError, match="structure: Input should be 'sampled' or 'original'"):
        Config.build({"structure": "copied"})


def test_a_digest_changes_with_the_settings_it_covers_and_no_others() -> None:
    before, after = Config.build({"seed": 1}), Config.build({"seed": 2})
    assert before.digest({}, "seed") != after.digest({}, "seed")
    assert before.digest({}, "rows", "training") == after.digest({}, "rows", "training")
    assert before.digest({"source": "a"}, "rows") != before.digest({"source": "b"}, "rows")


def test_null_for_orphans_needs_no_quotation_marks(tmp_path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("policy: {orphans: null}\n", encoding="utf-8")
    assert Config.build(read_settings(path)).policy.orphans == "null"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"seed": True}, "seed"),
        ({"training": {"time_budget_seconds": True}}, "training.time_budget_seconds"),
        ({"rows": {"a": False}}, "rows.a"),
    ],
)
def test_true_and_false_are_no_numbers(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{path}: must be a number, not true or false\. Found: (True|False)\."):
        Config.build(settings)
