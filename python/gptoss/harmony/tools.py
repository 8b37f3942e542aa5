"""Tools that a conversation offers to the model: one function, and a namespace of them.

Names, fields and defaults are those of openai-harmony 0.0.8. The descriptions of the two built-in
namespaces are what gpt-oss was trained on, to the letter.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ToolDescription(BaseModel):
    """One function that the model may call.

    `parameters` is the JSON schema of the arguments (an object schema), or None for a function
    without arguments. Wrong types raise pydantic.ValidationError. Not locked: share between
    threads only what no thread changes.
    """

    name: str
    description: str
    parameters: dict[Any, Any] | None = None

    @classmethod
    def new(
        cls, name: str, description: str, parameters: dict[Any, Any] | None = None
    ) -> ToolDescription:
        """The constructor with positional arguments."""
        return cls(name=name, description=description, parameters=parameters)


class ToolNamespaceConfig(BaseModel):
    """Functions under one name; the model calls them as `name.function`.

    Wrong types raise pydantic.ValidationError.
    """

    name: str
    description: str | None = None
    tools: list[ToolDescription]

    @staticmethod
    def browser() -> ToolNamespaceConfig:
        """The namespace `browser` of the training: search, open and find. A new one each time."""
        return ToolNamespaceConfig(
            name="browser",
            description=_BROWSER,
            tools=[
                ToolDescription.new("search", _BROWSER_SEARCH, _browser_search_parameters()),
                ToolDescription.new("open", _BROWSER_OPEN, _browser_open_parameters()),
                ToolDescription.new("find", _BROWSER_FIND, _browser_find_parameters()),
            ],
        )

    @staticmethod
    def python() -> ToolNamespaceConfig:
        """The namespace `python` of the training: the message itself is the code, so no tools."""
        return ToolNamespaceConfig(name="python", description=_PYTHON, tools=[])


_BROWSER = """\
Tool for browsing.
The `cursor` appears in brackets before each browsing display: `[{cursor}]`.
Cite information from the tool using the following format:
`【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.
Do not quote more than 10 words directly from the tool output.
sources=web (default: web)"""

_BROWSER_SEARCH = "Searches for information related to `query` and displays `topn` results."

_BROWSER_OPEN = (
    "Opens the link `id` from the page indicated by `cursor` starting at line number `loc`,"
    " showing `num_lines` lines.\n"
    "Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
    "If `cursor` is not provided, the most recent page is implied.\n"
    "If `id` is a string, it is treated as a fully qualified URL associated with `source`.\n"
    "If `loc` is not provided, the viewport will be positioned at the beginning of the document"
    " or centered on the most relevant passage, if available.\n"
    "Use this function without `id` to scroll to a new location of an opened page."
)

_BROWSER_FIND = (
    "Finds exact matches of `pattern` in the current page, or the page given by `cursor`."
)

_PYTHON = (
    "Use this tool to execute Python code in your chain of thought."
    " The code will not be shown to the user."
    " This tool should be used for internal reasoning, but not for code that is intended to be"
    " visible to the user (e.g. when creating plots, tables, or files).\n"
    "\n"
    "When you send a message containing Python code to python, it will be executed in a stateful"
    " Jupyter notebook environment."
    " python will respond with the output of the execution or time out after 120.0 seconds."
    " The drive at '/mnt/data' can be used to save and persist user files."
    " Internet access for this session is UNKNOWN. Depends on the cluster."
)


# Functions, not constants: a caller may change the schema of the namespace that it was given.
def _browser_search_parameters() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "topn": {"type": "number", "default": 10},
            "source": {"type": "string"},
        },
        "required": ["query"],
    }


def _browser_open_parameters() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["number", "string"], "default": -1},
            "cursor": {"type": "number", "default": -1},
            "loc": {"type": "number", "default": -1},
            "num_lines": {"type": "number", "default": -1},
            "view_source": {"type": "boolean", "default": False},
            "source": {"type": "string"},
        },
    }


def _browser_find_parameters() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "pattern": {"type": "string"},
            "cursor": {"type": "number", "default": -1},
        },
        "required": ["pattern"],
    }
