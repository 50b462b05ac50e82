"""The description of a server for programs, OpenAPI 3.1: what the model that is served takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptm import __version__
from ptm.config.label_types import CLASSES, NUMBER
from ptm.config.spec import RunSpec
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    INSTANCE_SEGMENTATION,
    MASKED_LM,
    QUESTION_ANSWERING,
    SEMANTIC_SEGMENTATION,
    TEXT_CLASSIFICATION,
    TEXT_SIMILARITY,
    TOKEN_CLASSIFICATION,
    TRANSLATION,
)

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_SCORE: Schema = {"type": "number"}
_BY_LABEL: Schema = {"type": "object", "additionalProperties": _SCORE}
_ERRORS: Mapping[int, str] = {
    400: "no JSON, no form",
    403: "a page of another site asks",
    408: "the body did not come in time",
    413: "a body that is too large",
    415: "a body of another type, or a packed one",
    421: "another name in Host than those of this server",
    422: "an input that cannot be used",
    500: "a bug, or a model that is broken",
    503: "too many wait, or no memory; Retry-After says when to ask again",
}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def input_schema(spec: RunSpec, columns: Sequence[str]) -> Schema:
    """One input. ``columns``: the names that an object has, in the order of the model's roles."""
    if spec.descriptor.modality == "image":
        image = {"type": "string", "contentEncoding": "base64", "description": "An image file in base64."}
        return {"oneOf": [image, _object({"image": image})]}
    value = _TEXT
    if spec.task == TOKEN_CLASSIFICATION.name:
        value = {"oneOf": [_TEXT, _list(_TEXT)], "description": "A text, or its words."}
    by_column = _object(dict.fromkeys(columns, value))
    return by_column if len(columns) > 1 else {"oneOf": [value, by_column]}


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def prediction_schema(spec: RunSpec, with_sets: bool = False) -> Schema:
    """What is said of one input; ``id`` is its place in the request. ``with_sets``: with --coverage."""
    return _object({"id": {"type": "integer"}, **_fields(spec, with_sets)})


def _fields(spec: RunSpec, with_sets: bool) -> dict[str, Schema]:
    task = spec.task
    if task in (TEXT_CLASSIFICATION.name, IMAGE_CLASSIFICATION.name):
        if spec.data.label_type == NUMBER.name:
            return {"prediction": _SCORE}
        several = spec.data.label_type == CLASSES.name
        one = {"type": ["string", "null"]}  # null: not sure enough, --reject-below
        sets = {"prediction_set": _list(_TEXT)} if with_sets else {}
        return {"prediction": _list(_TEXT) if several else one, "scores": _BY_LABEL, **sets}
    if task == TEXT_SIMILARITY.name:
        scored = {"prediction": _SCORE} if spec.data.label_type == NUMBER.name else {}
        single = spec.data.text_pair is None
        return {"embedding": _list(_SCORE)} if single else {"similarity": _SCORE, **scored}
    if task == TOKEN_CLASSIFICATION.name:
        place: Schema = {"type": "integer"}
        entity = _object({"text": _TEXT, "kind": _TEXT, "start": place, "end": place, "score": _SCORE})
        tags = {"type": ["string", "null"]}
        scores = _list({"type": ["number", "null"]})
        return {
            "words": _list(_TEXT),
            "predicted_tags": _list(tags),
            "scores": scores,
            "entities": _list(entity),
        }
    if task == QUESTION_ANSWERING.name:
        character: Schema = {"type": ["integer", "null"]}  # null: no answer
        return {"answer": _TEXT, "start": character, "end": character, "probability": _SCORE}
    if spec.descriptor.boxes:
        found = {"boxes": _list(_list(_SCORE)), "labels": _list(_TEXT), "scores": _list(_SCORE)}
        code = _object({"size": _list({"type": "integer"}), "counts": _TEXT})
        return {**found, "masks": _list(code)} if task == INSTANCE_SEGMENTATION.name else found
    if task == SEMANTIC_SEGMENTATION.name:
        return {"shares": _BY_LABEL, "mask_png": {"type": "string", "contentEncoding": "base64"}}
    if task == TRANSLATION.name:
        return {"source": _TEXT, "prediction": _TEXT}
    if task == MASKED_LM.name:
        return {"prediction": _TEXT, "masks": _list(_BY_LABEL)}
    return {"prediction": _TEXT}


def document(
    spec: RunSpec, columns: Sequence[str], title: str, reads: str, *, with_sets: bool = False
) -> dict[str, Any]:
    """``title``: what is served; ``reads``: what its preprocessing makes of an input; ``with_sets``: whether classes
    come with a set of labels."""
    problem = _object({"what": _TEXT, "where": _TEXT, "expected": _TEXT, "cure": _TEXT})
    error = _object({"exit_code": {"type": "integer"}, "problems": _list(problem)})
    schemas = {
        "Input": input_schema(spec, columns),
        "Prediction": prediction_schema(spec, with_sets),
        "Request": _object({"inputs": {**_list(_ref("Input")), "minItems": 1}}),
        "Answer": _object({"predictions": _list(_ref("Prediction"))}),
        "Error": _object({"error": error}),
    }
    content: dict[str, Any] = {"application/json": {"schema": _ref("Request")}}
    if spec.descriptor.modality == "image":
        files = _list({"type": "string", "format": "binary"})
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": {"image": files}}}
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    refusals = {
        str(status): {
            "description": what,
            "content": {"application/json": {"schema": _ref("Error")}},
        }
        for status, what in _ERRORS.items()
    }
    predict = {
        "summary": "Predict for one or several inputs",
        "description": f"The model reads {reads}." if reads else "",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer("Predictions, in the order of the inputs", _ref("Answer")), **refusals},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            "/healthz": {
                "get": {
                    "summary": "Whether it can predict",
                    "responses": {"200": _answer("It can", {"type": "object"})},
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Counts and times, in the text format of Prometheus",
                    "responses": {"200": {"description": "Metrics", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {"schemas": schemas},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
