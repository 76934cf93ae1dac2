"""YAML whose keys stand once: of two entries of one name, YAML itself would silently keep the last."""

from __future__ import annotations

from typing import Any

import yaml


class _Once(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in names:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is written twice", key.start_mark)
                names.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """What a YAML text holds. Raises `yaml.YAMLError` if it cannot be read, or says something twice; with the line's number, not the
    line, which may hold a password."""
    try:
        return yaml.load(text, _Once)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise yaml.YAMLError(f"{where}{error.problem or error.context}") from None
