"""All settings of a run in one validated object. Every fault is reported at once, each with its path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from synth_engine.errors import ConfigurationError, nearest
from synth_engine.mappings import read_yaml


def _no_truth_value(value: Any) -> Any:
    """To Python `true` is 1: a number that nobody meant."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, BeforeValidator(_no_truth_value)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Section):
    """How long and how large. `time_budget_seconds` bounds the whole training; a run it cuts short is not
    reproducible to the byte, and its manifest says so. With `any_order` the networks learn to draw columns in any order, which
    completing rows takes (no command does so yet), and follow the source less closely."""

    size: Literal["small", "medium", "large"] = "medium"
    max_epochs: Whole = Field(default=20, ge=1)
    time_budget_seconds: Number | None = Field(default=None, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    any_order: bool = False


class Privacy(_Section):
    """Values that fewer than this many entities have are never written: rare categories are replaced by frequent
    ones and extremes are drawn in to the mean of the outermost entities. 1 switches the protection off. Each row of
    `entity_tables` is an entity, whomever it refers to, with all that refers to it."""

    rare_category_entities: Whole = Field(default=5, ge=1)
    extreme_value_entities: Whole = Field(default=5, ge=1)
    entity_tables: tuple[str, ...] = ()


class Links(_Section):
    """How unevenly children are spread over their parents: a `temperature` below 1 gives the parents of many children
    more of them, above 1 fewer; 1 spreads them as in the source. The number of rows stays."""

    temperature: Number = Field(default=1.0, gt=0, allow_inf_nan=False)


class Policy(_Section):
    """What to do when the source breaks its own keys. `fail` stops with counts; `drop` leaves the rows out of the
    training data; `null` empties the orphaned key where it may be null, and leaves the row out where it may not; `reproduce` gives
    the twin as many orphans, whose key no parent has and no constraint holds."""

    orphans: Literal["fail", "drop", "null", "reproduce"] = "fail"
    duplicate_keys: Literal["fail", "drop"] = "fail"

    @field_validator("orphans", mode="before")
    @classmethod
    def _as_yaml_writes_it(cls, value: Any) -> Any:
        """Without quotation marks YAML takes `null` for nothing."""
        return "null" if value is None else value


class Publication(_Section):
    """`replace_foreign_tables` allows publishing over tables this product did not create."""

    replace_foreign_tables: bool = False
    lock_timeout_seconds: Number = Field(default=30, gt=0)


class Validation(_Section):
    """Bounds of the validation. `distribution_distance` is the largest Kullback-Leibler divergence of a column
    from the source's distribution that passes."""

    row_count_tolerance: Number = Field(default=0.01, ge=0, le=1)
    distribution_distance: Number = Field(default=0.5, gt=0)


class ColumnSettings(_Section):
    """Overrides for one column. `pattern` and `check_digit` are the format of its new values; `keep_values` gives the twin
    the real ones."""

    kind: str | None = None
    pattern: str | None = None
    check_digit: Literal["luhn", "ean13", "isbn10", "mod97"] | None = None
    keep_values: bool = False


class Config(_Section):
    """Everything a run needs to know. `source` and `target` may hold credentials and are never written to a log,
    a manifest or the configuration hash as they are."""

    source: str | None = Field(default=None, repr=False)
    target: str | None = Field(default=None, repr=False)
    source_schema: str | None = None
    target_schema: str | None = None
    schema_file: tuple[str, ...] = ()
    infer_keys: bool = False
    tables: tuple[str, ...] | None = None
    rows: dict[str, Whole] = Field(default_factory=dict)
    key_start: dict[str, Whole] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    structure: Literal["sampled", "original"] = "sampled"
    links: Links = Links()
    seed: Whole = Field(default=0, ge=0)
    columns: dict[str, dict[str, ColumnSettings]] = Field(default_factory=dict)
    training: Training = Training()
    privacy: Privacy = Privacy()
    policy: Policy = Policy()
    publication: Publication = Publication()
    validation: Validation = Validation()
    generation_batch_rows: Whole = Field(default=100_000, ge=1)

    @field_validator("schema_file", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value

    @classmethod
    def build(cls, *layers: dict[str, Any]) -> Config:
        """Merge layers, later ones win (sections are merged key by key), and validate once.

        Raises `ConfigurationError` that lists every fault with its path, for example `training.max_epochs`.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            _merge(merged, layer)
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise ConfigurationError([_fault(item) for item in error.errors(include_url=False)]) from None

    def digest(self, places: Mapping[str, str], *fields: str) -> str:
        """sha256 of these settings and of the places (locations without credentials) a step works on."""
        content = {"places": dict(places), "settings": self.model_dump(mode="json", include=set(fields))}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_settings(path: str | Path) -> dict[str, Any]:
    """The raw settings of a YAML file. Raises `ConfigurationError` if it cannot be read or is no mapping."""
    try:
        raw = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError([f"The configuration file must be readable YAML. Found: {path}: {error}. Next step: correct it"]) from None
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise ConfigurationError(
            [f"The configuration file must hold a mapping of settings. Found: {path} holds {found}. Next step: see docs/configuration.md"]
        )
    return raw


def _merge(base: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        elif isinstance(value, dict):
            base[key] = {}
            _merge(base[key], value)
        else:
            base[key] = value


def _fault(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "configuration"
    if item["type"] == "extra_forbidden":
        advice = nearest(str(item["loc"][-1]), _settings_beside(item["loc"])) or "remove it or correct its name"
        return f"{path}: there is no such setting. Next step: {advice}"
    if item["type"] == "tuple_type" and isinstance(item["input"], str):
        return f"{path}: must be a list. Found: {item['input']!r}. Next step: write [{item['input']}]"
    found = "" if path in ("source", "target") else f" Found: {item['input']!r}."
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message}.{found} Next step: correct it, or leave it out for the default"


def _settings_beside(location: Sequence[str | int]) -> Iterable[str]:
    """Names of the settings of the section that holds this one."""
    if location[0] == "columns":
        return ColumnSettings.model_fields
    section: type[BaseModel] = Config
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]  # a section's
    return section.model_fields
