"""Tools as the models read them: JSON schemas as TypeScript, and the "# Tools" section."""

from __future__ import annotations

import json
import math
from typing import Any

import harmony_strategies
import pytest
from gptoss.harmony import ToolDescription, ToolNamespaceConfig
from gptoss.harmony.json_text import float_text, json_text, reread_number
from gptoss.harmony.typescript import tools_section, typescript_type
from hypothesis import given, settings
from hypothesis import strategies as st
from random_conversations import RandomConversations

STRING = {"type": "string"}


def properties(**schemas: Any) -> dict[str, Any]:
    return {"type": "object", "properties": schemas}


# A rule, a schema, and the type that openai_harmony 0.0.8 makes of it.
RULES: list[tuple[str, Any, str]] = [
    # Types.
    ("a string", {"type": "string"}, "string"),
    ("a number", {"type": "number"}, "number"),
    ("an integer is a number", {"type": "integer"}, "number"),
    ("a boolean", {"type": "boolean"}, "boolean"),
    ("null is no type of its own", {"type": "null"}, "any"),
    ("an unknown type", {"type": "date"}, "any"),
    ("a type that is neither a text nor a list", {"type": 5}, "any"),
    ("no type", {}, "any"),
    ("what is no schema", True, "any"),
    ("several types", {"type": ["integer", "string", "null"]}, "number | string | null"),
    ("several types are not looked into", {"type": ["object", "array"]}, "object | array"),
    ("several types that are no texts", {"type": [1, None]}, "any"),
    ("an array", {"type": "array", "items": STRING}, "string[]"),
    ("an array of anything", {"type": "array"}, "Array<any>"),
    ("an array of what is no schema", {"type": "array", "items": None}, "any[]"),
    (
        "arrays in arrays",
        {"type": "array", "items": {"type": "array", "items": STRING}},
        "string[][]",
    ),
    (
        "an array of alternatives has no parentheses",
        {"type": "array", "items": {"type": ["string", "number"]}},
        "string | number[]",
    ),
    (
        "an array of objects",
        {"type": "array", "items": properties(a=STRING)},
        "{\na?: string,\n}[]",
    ),
    ("choices", {"type": "string", "enum": ["a", "b"]}, '"a" | "b"'),
    ("choices are not escaped", {"type": "string", "enum": ['"', "\\", "\n"]}, '""" | "\\" | "\n"'),
    ("choices that are no texts are left out", {"type": "string", "enum": [1, "a", None]}, '"a"'),
    ("no choices that are texts", {"type": "string", "enum": [1, 2]}, "string"),
    ("choices of numbers", {"type": "number", "enum": [1, 2]}, "number"),
    ("choices without a type", {"enum": ["a"]}, "any"),
    ("anyOf is not known", {"anyOf": [STRING]}, "any"),
    # Objects.
    ("an object without properties", {"type": "object"}, "{\n}"),
    ("properties that are no object", {"type": "object", "properties": [1]}, "{\n}"),
    ("properties in their order", properties(b=STRING, a=STRING), "{\nb?: string,\na?: string,\n}"),
    (
        "a required property has no question mark",
        {**properties(a=STRING, b=STRING), "required": ["b", "c", 5]},
        "{\na?: string,\nb: string,\n}",
    ),
    ("required that is no list", {**properties(a=STRING), "required": "a"}, "{\na?: string,\n}"),
    (
        "names are not quoted",
        properties(**{"a b": STRING, "": STRING}),
        "{\na b?: string,\n?: string,\n}",
    ),
    ("a property that is no schema", properties(a=None, b=5), "{\na?: any,\nb?: any,\n}"),
    (
        "an object in an object is indented by four",
        properties(a=properties(b=properties(c=STRING))),
        "{\na?: {\n    b?: {\n        c?: string,\n        },\n    },\n}",
    ),
    (
        "an object's description stands before its bracket",
        {"type": "object", "description": "D"},
        "// D\n{\n}",
    ),
    (
        "the description of an object in a property comes twice",
        properties(a={"type": "object", "description": "D"}),
        "{\n// D\na?:     // D\n{\n    },\n}",
    ),
    # What is known of a property.
    (
        "title, description, examples, default",
        properties(
            a={
                "type": "string",
                "title": "T",
                "description": "D",
                "examples": ["x", 5, "y"],
                "default": "z",
            }
        ),
        '{\n// T\n//\n// D\n// Examples:\n// - "x"\n// - "y"\na?: string, // default: "z"\n}',
    ),
    (
        "the second line of a description is no comment",
        properties(a={"description": "one\ntwo"}),
        "{\n// one\ntwo\na?: any,\n}",
    ),
    ("an empty description", properties(a={"description": ""}), "{\n// \na?: any,\n}"),
    (
        "texts that are none",
        properties(a={"title": 1, "description": ["D"], "examples": "x"}),
        "{\na?: any,\n}",
    ),
    ("no examples", properties(a={"examples": []}), "{\na?: any,\n}"),
    ("examples that are no texts", properties(a={"examples": [1]}), "{\n// Examples:\na?: any,\n}"),
    ("nullable", properties(a={"type": "string", "nullable": True}), "{\na?: string | null,\n}"),
    (
        "nullable that is not true",
        properties(a={"type": "string", "nullable": 1}),
        "{\na?: string,\n}",
    ),
    (
        "nullable twice",
        properties(a={"type": ["string", "null"], "nullable": True}),
        "{\na?: string | null,\n}",
    ),
    (
        "nullable of what spells null",
        properties(a={"type": "string", "enum": ["nullify"], "nullable": True}),
        '{\na?: "nullify",\n}',
    ),
    # Defaults.
    ("a default that is null", properties(a={"default": None}), "{\na?: any, // default: null\n}"),
    (
        "a default is not escaped",
        properties(a={"default": '"\n'}),
        '{\na?: any, // default: ""\n"\n}',
    ),
    (
        "the default of choices is bare",
        properties(a={"type": "string", "enum": ["x"], "default": "x"}),
        '{\na?: "x", // default: x\n}',
    ),
    (
        "the default of no choices is quoted",
        properties(a={"type": "string", "enum": [], "default": "x"}),
        '{\na?: string, // default: "x"\n}',
    ),
    (
        "a default of JSON",
        properties(a={"default": {"b": [1, 2.5, True, 'é"\x01\x7f']}}),
        '{\na?: any, // default: {"b":[1,2.5,true,"é\\"\\u0001\x7f"]}\n}',
    ),
    # Alternatives.
    (
        "alternatives",
        {"oneOf": [STRING, {"type": "number"}]},
        "\n | string\n | number",
    ),
    ("no alternatives", {"oneOf": []}, ""),
    ("alternatives that are no list", {"oneOf": {}, "type": "string"}, "string"),
    ("alternatives before the type", {"oneOf": [STRING], "type": "number"}, "\n | string"),
    (
        "alternatives say what they are",
        {
            "oneOf": [
                {"type": "string", "description": "D", "default": "x"},
                {"type": "string", "enum": ["a"], "default": '"', "nullable": True},
                {"type": "number", "default": 1},
            ]
        },
        '\n | string // D default: "x"\n | "a" | null // default: "\\""\n | number // default: 1',
    ),
    (
        "alternatives in alternatives are indented by three",
        {"oneOf": [{"oneOf": [STRING]}]},
        "\n | \n    | string",
    ),
    (
        "alternatives of a property stand below its name",
        properties(a={"oneOf": [STRING, properties(b=STRING)]}),
        "{\na?:\n | string\n | {\n   b?: string,\n   }\n,\n}",
    ),
    (
        "a property's description replaces that of its first alternative",
        properties(
            a={
                "description": "P",
                "oneOf": [
                    {"type": "string", "description": "D"},
                    {"type": "number", "description": "P"},
                    {"type": "boolean", "description": "E"},
                ],
            }
        ),
        "{\n// P\na?:\n | string\n | number\n | boolean // E\n,\n}",
    ),
    (
        "a description that the first alternative repeats is nowhere",
        properties(a={"description": "P", "oneOf": [{"type": "string", "description": "P"}]}),
        "{\na?:\n | string\n,\n}",
    ),
    (
        "alternatives of a property without description keep theirs",
        properties(a={"oneOf": [{"type": "string", "description": "D"}]}),
        "{\na?:\n | string // D\n,\n}",
    ),
    (
        "title, examples, description, default of alternatives",
        properties(
            a={
                "title": "T",
                "description": "D",
                "examples": ["x"],
                "default": "z",
                "oneOf": [{"type": "string", "enum": ["e"], "default": "e"}],
            }
        ),
        '{\n// T\n//\n// Examples:\n// - "x"\n// D\n// default: "z"\n'
        'a?:\n | "e" // default: e\n,\n}',
    ),
    (
        "a property without alternatives, though it has the keyword",
        properties(a={"type": "string", "oneOf": None, "description": "D", "default": "x"}),
        "{\na?: string,\n}",
    ),
]
RULE_IDS = [rule for rule, _, _ in RULES]


@pytest.mark.parametrize(("schema", "expected"), [case[1:] for case in RULES], ids=RULE_IDS)
def test_a_schema_as_a_type(schema: Any, expected: str) -> None:
    assert typescript_type(schema) == expected


class TestDefaultsInJson:
    """Values as Rust's serde_json spells them."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "0.00001"),
            (0.000015, "0.000015"),
            (-0.000015, "-0.000015"),
            (0.000001, "1e-6"),
            (0.0000015, "1.5e-6"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e16"),
            (1.5e16, "1.5e16"),
            (-1.5e300, "-1.5e300"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e308"),
        ],
    )
    def test_floats(self, value: float, expected: str) -> None:
        assert float_text(value) == expected

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_a_float_reads_back(self, value: float) -> None:
        assert float(float_text(value)) == value

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (2**64 - 1, "18446744073709551615"),
            (2**64, "1.8446744073709552e19"),
            (-(2**63), "-9223372036854775808"),
            (-(2**63) - 1, "-9.223372036854776e18"),
            (10**25, "1e25"),
        ],
    )
    def test_integers_beyond_64_bits_are_floats(self, value: int, expected: str) -> None:
        assert json_text(value) == expected

    def test_a_decimal_may_become_the_nearest_floats_neighbour(self) -> None:
        assert json_text(123456789.12345679) == "123456789.1234568"

    def test_a_decimal_is_digits_times_a_power_of_ten(self) -> None:
        assert reread_number("12345678901234567890123e2") == 1.2345678901234567e24
        assert reread_number("5e-324") == 5e-324
        assert reread_number("1e-400") == 0.0
        assert reread_number("1e-999999999") == reread_number(f"1e-{10**30}") == 0.0
        assert reread_number("0e400") == 0.0
        assert math.copysign(1, reread_number("-0.0")) == -1

    @pytest.mark.parametrize(
        "number", ["1e309", "17976931348623159e292", "1" + "0" * 400, f"1e{10**30}"]
    )
    def test_a_number_beyond_the_largest_float_is_refused(self, number: str) -> None:
        with pytest.raises(OverflowError, match=f"The number {number} is too large for a float"):
            reread_number(number)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
            lambda values: st.lists(values) | st.dictionaries(st.text(), values),
            max_leaves=10,
        )
    )
    def test_all_but_numbers_is_the_most_compact_json(self, value: Any) -> None:
        expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert json_text(value) == expected


class TestToolsSection:
    def test_a_function_and_its_description(self) -> None:
        functions = ToolNamespaceConfig(
            name="functions",
            tools=[
                ToolDescription.new("f", "First line.\nSecond line.", properties(a=STRING)),
                ToolDescription.new("g", ""),
            ],
        )
        assert tools_section({"functions": functions}) == (
            "# Tools\n\n## functions\n\nnamespace functions {\n\n"
            "// First line.\n// Second line.\n"
            "type f = (_: {\na?: string,\n}) => any;\n\n"
            "type g = () => any;\n\n"
            "} // namespace functions"
        )

    def test_the_description_of_a_namespace_is_a_comment_where_there_are_tools(self) -> None:
        with_tools = ToolNamespaceConfig(
            name="n", description="One.\n\nTwo.\n", tools=[ToolDescription.new("f", "")]
        )
        assert tools_section({"n": with_tools}) == (
            "# Tools\n\n## n\n\n// One.\n// \n// Two.\nnamespace n {\n\n"
            "type f = () => any;\n\n} // namespace n"
        )
        without_tools = ToolNamespaceConfig(name="n", description="One.\n\nTwo.\n", tools=[])
        assert tools_section({"n": without_tools}) == "# Tools\n\n## n\n\nOne.\n\nTwo."

    @pytest.mark.parametrize(
        ("description", "lines"),
        [
            ("a\r\nb\rc\r", ["a", "b\rc\r"]),
            ("a\r\r\n", ["a\r"]),
            ("\n", [""]),
            ("a\u2028b\x0bc\x85d", ["a\u2028b\x0bc\x85d"]),
            ("", []),
        ],
    )
    def test_lines_end_in_line_feeds(self, description: str, lines: list[str]) -> None:
        namespace = ToolNamespaceConfig(name="n", description=description, tools=[])
        assert tools_section({"n": namespace}) == "\n".join(["# Tools\n\n## n\n", *lines])

    def test_namespaces_come_in_the_order_of_their_keys(self) -> None:
        names = {"b": "1", "a": "2", "\U00010000": "3", "\uffff": "4", "B": "5"}
        namespaces = {key: ToolNamespaceConfig(name=name, tools=[]) for key, name in names.items()}
        assert tools_section(namespaces) == "# Tools\n\n" + "\n\n".join(
            f"## {name}\n" for name in ("5", "2", "1", "4", "3")
        )

    def test_parameters_are_what_json_makes_of_them(self) -> None:
        parameters = {"type": "object", "properties": {1: {"type": ("string", "null")}}}
        namespace = ToolNamespaceConfig(name="n", tools=[ToolDescription.new("f", "", parameters)])
        assert "type f = (_: {\n1?: string | null,\n}) => any;" in tools_section({"n": namespace})


class TestAgainstThePackage:
    """The same type from openai_harmony."""

    @pytest.mark.parametrize("schema", [case[1] for case in RULES if case[1] is not True])
    def test_of_every_rule(self, schema: Any, oracle: Oracle) -> None:
        assert typescript_type(schema) == oracle.typescript_type(schema)

    @settings(max_examples=150)
    @given(harmony_strategies.json_schemas())
    def test_of_any_schema(self, oracle: Oracle, schema: Any) -> None:
        assert_same_type(oracle, schema)

    @settings(max_examples=150)
    @given(harmony_strategies.malformed_schemas())
    def test_of_malformed_schemas(self, oracle: Oracle, schema: Any) -> None:
        assert_same_type(oracle, schema)

    @pytest.mark.slow
    def test_of_many_schemas(self, oracle: Oracle) -> None:
        for seed in range(3000):
            schema = RandomConversations(seed).schema()
            assert typescript_type(schema) == oracle.typescript_type(schema), f"seed {seed}"

    @settings(max_examples=500)
    @given(harmony_strategies.json_numbers() | st.floats(1e-30, 1e30))
    def test_numbers(self, oracle: Oracle, number: float) -> None:
        assert_same_type(oracle, properties(a={"default": number}))


class Oracle:
    """openai_harmony, asked for the type of a schema."""

    def __init__(self, package: Any) -> None:
        self._package = package
        self._encoding = package.load_harmony_encoding("HarmonyGptOss")

    def typescript_type(self, schema: Any) -> str:
        tool = self._package.ToolDescription.new("f", "", schema)
        content = self._package.DeveloperContent.new().with_function_tools([tool])
        message = self._package.Message.from_role_and_content("developer", content)
        text: str = self._encoding.decode_utf8(self._encoding.render(message))
        before, after = "\ntype f = (_: ", ") => any;\n\n} // namespace functions<|end|>"
        assert text.endswith(after)
        return text[text.index(before) + len(before) : -len(after)]


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle(pytest.importorskip("openai_harmony"))


def assert_same_type(oracle: Oracle, schema: Any) -> None:
    assert typescript_type(schema) == oracle.typescript_type(schema)
