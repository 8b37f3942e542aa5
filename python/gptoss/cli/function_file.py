"""Functions for the model from a JSON file, in the forms in which OpenAI's APIs take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptoss.harmony import DeveloperContent, Message, Role, ToolDescription
from gptoss.harmony.json_passage import reread_message


def read_functions(path: Path) -> list[ToolDescription]:
    """The functions that a file declares: a JSON list.

    Each item is `{"type": "function", "function": {"name", "description", "parameters"}}`, or the
    same with these three beside the type. ValueError: the file is something else. OSError.
    """
    try:
        items = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be read.") from error
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} must hold a JSON list of one or more functions.")
    functions = [_function(item, f"Function {n} of {path}") for n, item in enumerate(items, 1)]
    names = [function.name for function in functions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} declares the function {name!r} more than once.")
    return functions


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _function(item: Any, where: str) -> ToolDescription:
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
    function = ToolDescription.new(name, description, parameters)
    _require_renderable(function, where)
    return function


def _require_renderable(function: ToolDescription, where: str) -> None:
    """ValueError: the function has what the format refuses, such as half a surrogate pair."""
    developer = DeveloperContent.new().with_function_tools([function])
    try:
        reread_message(Message.from_role_and_content(Role.DEVELOPER, developer))
    except ValueError as error:
        reason = str(error).removeprefix("invalid message JSON: ").partition(" at line ")[0]
        raise ValueError(f"{where} cannot be shown to the model: {reason}.") from error
