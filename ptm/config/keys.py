"""How a key of the spec is declared beyond its type: for which tasks it is, and which words it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ptm.config.tasks import TASKS, Modality, Task

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Strings = tuple[str, ...]
Floats = tuple[float, ...]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]

_MODALITIES: Mapping[Modality, str] = {"text": "text tasks", "image": "image tasks"}


@dataclass(frozen=True)
class Serves:
    """For which tasks a key is; the ``json_schema_extra`` of its field, and the only place that says so.

    In the JSON Schema it stands as ``x-tasks`` and in the description, from which the reference is made; the check of a
    config reads it from the field.
    """

    task: Callable[[Task], bool]

    def names(self) -> tuple[str, ...]:
        return tuple(name for name, task in TASKS.items() if self.task(task))

    def words(self) -> str:
        """``text tasks``, or the names of the tasks."""
        names = self.names()
        for modality, words in _MODALITIES.items():
            if names == tuple(name for name, task in TASKS.items() if task.modality == modality):
                return words
        return " and ".join(names)

    def __call__(self, fragment: dict[str, Any]) -> None:
        """Add what it says to the key's part of the JSON Schema."""
        fragment["x-tasks"] = list(self.names())
        fragment["description"] = f"Only for {self.words()}. {fragment.get('description', '')}".rstrip()


TEXT_ONLY = Serves(lambda task: task.modality == "text")
IMAGES_ONLY = Serves(lambda task: task.modality == "image")

CLASSIFIERS = Serves(lambda task: task.classifies)


def only(*tasks: Task) -> Serves:
    """For a key that belongs to single tasks."""
    names = {task.name for task in tasks}
    return Serves(lambda task: task.name in names)


def serves(field: FieldInfo) -> Serves | None:
    """For which tasks a key is; None for a key that all tasks have."""
    extra = field.json_schema_extra
    return extra if isinstance(extra, Serves) else None


AND = " + "  # between the parts of a list of files, as a config holds it


def joined(value: object) -> object:
    """A list of names as one text: ``[a.csv, b.csv]`` is ``a.csv + b.csv``. Of sources, the kind stands once."""
    if not isinstance(value, list | tuple) or not all(
        isinstance(part, str) and part.strip() for part in value
    ):
        return value
    if not value:
        raise ValueError("a list without a name")
    kinds = {part.partition(":")[0] if ":" in part else "" for part in value}
    if len(kinds) > 1:
        raise ValueError("files of several kinds in one list")
    first, *others = value
    return AND.join([first, *(part.partition(":")[2] if kinds != {""} else part for part in others)])


FILES = BeforeValidator(joined, json_schema_input_type=str | list[str] | None)  # a name, or a list of names
SOURCES = BeforeValidator(joined, json_schema_input_type=str | list[str])


def null_means(default: object, file_type: Any) -> BeforeValidator:
    """Annotation of a value that may be written as ``null``, which stands for the default. ``file_type``: its type in a
    file."""
    return BeforeValidator(
        lambda value: default if value is None else value, json_schema_input_type=file_type
    )


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text that is one of the names in a table, as the table is when the text is checked."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names)}

    def _check(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(f"not one of {', '.join(self.names)}")
        return name
