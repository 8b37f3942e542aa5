"""Functions for the model from a JSON file, in the forms in which OpenAI's APIs take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptoss.harmony_minimal import FunctionTool


def read_functions(path: Path) -> list[FunctionTool]:
    """The functions that a file declares: a JSON list.

    Each item is `{"type": "function", "function": {"name", "description", "parameters"}}`, or the
    same with these three beside the type. ValueError: the file is something else. OSError.
    """
    try:
        items = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} must hold a JSON list of one or more functions.")
    functions = [_function(item, f"Function {n} of {path}") for n, item in enumerate(items, 1)]
    names = [function.name for function in functions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} declares the function {name!r} more than once.")
    return functions


def _function(item: Any, where: str) -> FunctionTool:
    if not isinstance(item, dict) or item.get("type", "function") != "function":
        raise ValueError(f'{where} must be a JSON object with "type": "function".')
    declaration = item.get("function", item)
    if not isinstance(declaration, dict):
        raise ValueError(f'{where}: "function" must be a JSON object.')
    name = declaration.get("name")
    description = declaration.get("description") or ""
    parameters = declaration.get("parameters")
    if not isinstance(name, str) or not name:
        raise ValueError(f'{where} needs a "name".')
    if not isinstance(description, str):
        raise ValueError(f'{where}: "description" must be a string.')
    if parameters is not None and not isinstance(parameters, dict):
        raise ValueError(f'{where}: "parameters" must be a JSON schema, an object.')
    return FunctionTool(name, description, parameters)
