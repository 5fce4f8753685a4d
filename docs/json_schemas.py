"""JSON Schemas of `@config` classes, for completion and checks in an editor."""

from collections.abc import Mapping
from typing import Any, get_args

from class_facts import meanings, parts_of, summary
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from raypipe.contract import ColumnType


class Schemas(GenerateJsonSchema):
    """pydantic's JSON Schema with what it cannot know: parts, shorthands, durations, meanings."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's hook
        """Never: a title would repeat the name."""
        return False

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> dict[str, Any]:
        """A Protocol: one of raypipe's parts, or a class of one's own."""
        own = {"properties": {"_target_": {"type": "string", "not": {"pattern": "^raypipe[.]"}}}, "required": ["_target_"]}
        return {"anyOf": [*(part_schema(t, cls) for t, cls in parts_of(schema["cls"]).items()), {"type": "object", **own}]}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> dict[str, Any]:
        """A column may be written as its type alone."""
        inner = super().function_before_schema(schema)
        if "shorthand" not in schema["function"]["function"].__name__:
            return inner
        return {"anyOf": [inner, {"enum": list(get_args(ColumnType))}]}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> dict[str, Any]:  # noqa: ARG002  # pydantic's hook
        """A number and a unit."""
        return {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*[smhd]\s*$"}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> dict[str, Any]:
        """Each setting with its meaning."""
        out = super().dataclass_schema(schema)
        out["description"] = summary(schema["cls"])
        for name, text in meanings(schema["cls"]).items():
            if name in out.get("properties", {}):
                out["properties"][name]["description"] = text
        return out


def schema_of(cls: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a `@config` class."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **TypeAdapter(cls).json_schema(schema_generator=Schemas)}


_INSIDE: list[type[Any]] = []
"""Parts whose schema is being made: some hold parts of their own kind."""


def part_schema(target: str, cls: type[Any]) -> dict[str, Any]:
    """The schema of a part as an object with ``_target_``; of one inside itself, only that."""
    if cls in _INSIDE:
        return {"type": "object", "properties": {"_target_": {"const": target}}, "required": ["_target_"]}
    _INSIDE.append(cls)
    found = TypeAdapter(cls).json_schema(schema_generator=Schemas)
    _INSIDE.pop()
    inner = inlined(found, found.pop("$defs", {}))
    properties = {"_target_": {"const": target}, **inner["properties"]}
    return {**inner, "properties": properties, "required": ["_target_", *inner.get("required", [])]}


def inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema without references, so that it can stand inside another."""
    if isinstance(schema, list):
        return [inlined(item, definitions) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {k: inlined(v, definitions) for k, v in schema.items() if k != "discriminator"}


def without_required(schema: Any) -> Any:
    """A schema that also takes files which hold only the difference to another."""
    if isinstance(schema, Mapping):
        return {k: without_required(v) for k, v in schema.items() if k != "required" or v == ["_target_"]}
    return [without_required(item) for item in schema] if isinstance(schema, list) else schema
