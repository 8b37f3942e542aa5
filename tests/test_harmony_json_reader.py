"""JSON text of any kind is read, or refused, as the Rust half of openai_harmony does it."""

from __future__ import annotations

from typing import Any

import pytest
from harmony_passage import Scripted, assert_same_passage
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def encoding() -> Any:
    """The package's: it reads the same text."""
    return pytest.importorskip("openai_harmony").load_harmony_encoding("HarmonyGptOss")


MESSAGE_JSON = '{"role": "user", "content": [{"type": "text", "text": "a"}]}'
VALID_JSON = f'{{"messages": [{MESSAGE_JSON}]}}'
OTHER_JSON = '{"other": [1.5, {"a": "\\u00e9\\n", "b": {}}, null], "messages": []}'
TOOLS_JSON = (
    '{"messages":[{"role":"developer","name":null,"content":[{"type":"developer_content","tools":'
    '{"functions":{"name":"functions","tools":[{"name":"f","description":"\\u00e9\\n",'
    '"parameters":{"a":[1,-2.5e+3,true,false,null,{}]}}]}}}]}]}'
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\r",
        "x",
        "nul",
        "nulx",
        "tru",
        "-",
        "-x",
        "01",
        "1.",
        "1.x",
        "1e",
        "1e+",
        "1ex",
        "5",
        "true",
        '"',
        '"a',
        '"a\\',
        '"a\\x"',
        '"a\\u12',
        '"a\\u12x4"',
        '"a\\ud800',
        '"a\\ud800"',
        '"a\\ud800\\',
        '"a\\ud800\\n"',
        '"a\\ud800\\u0041"',
        '"a\\udc00"',
        '"a\\ud83d\\ude00 \\" \\\\ \\/ \\b \\f \\n \\r \\t"',
        '"a\nb"',
        "[",
        "[]",
        "[[]]",
        "[[] ",
        "[[],",
        "[[],]",
        "[[], 1]",
        "[[] 1]",
        "{",
        "{}",
        "{5",
        '{"messages"',
        '{"messages" 5',
        '{"messages":',
        '{"messages":[]',
        '{"messages":[],',
        '{"messages":[],}',
        '{"messages":[],5}',
        '{"messages":[] 5}',
        '{"messages":[],"messages":[]}',
        '{"messages":[1,2]}',
        '{"messages":[{}]}',
        '{"messages":[{},]}',
        '{"messages":[[]]}',
        '{"messages":[] , "other" : [1, {"a": "b"}, null] } ',
        *(
            '{"other":' + ignored
            for ignored in [
                "",
                "[",
                "[]",
                "[] ",
                "[1,",
                "[1,]",
                "[1 2]",
                "[}",
                "{",
                "{}",
                "{5}",
                '{"a',
                '{"a"',
                '{"a" 1}',
                '{"a":1',
                '{"a":1,',
                '{"a":1,}',
                '{"a":1 2}',
                "-",
                "1.",
                "1.x",
                "1e",
                "01",
                "nul",
                '"',
                '"\n"',
                '"\\',
                '"\\x"',
                '"\\u12',
                '"\\u12x4"',
                '[{"a":[1e999,"\\ud800\\n",{}],"b":{"c":NaN}}]}',
                '[{"a":[1e999,"\\ud800\\n",{}],"b":{"c":null}}],"messages":[]}',
                "[" * 200 + "]" * 200 + ',"messages":[]}',
            ]
        ),
        VALID_JSON + "x",
        VALID_JSON,
        "[[" + MESSAGE_JSON + "]]",
        "[[" + MESSAGE_JSON + "],5]",
        VALID_JSON.replace(", ", ",\n\n "),
        VALID_JSON.replace('"a"', "5").replace(", ", ",\n\n "),
        VALID_JSON.replace('"a"', '"é", "text": 5'),
        VALID_JSON.replace("user", "é").replace("]", "\n]"),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '"a"'),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', "{}"),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', "5"),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '{"a": 1}'),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', "[[]]"),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '[["text", "a"]]'),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '[["text", "a", "b"]]'),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '[["text"]]'),
        VALID_JSON.replace('[{"type": "text", "text": "a"}]', '["a"]'),
        VALID_JSON.replace('"type": "text"', '"type": "text", "type": "text"'),
        VALID_JSON.replace('"type": "text"', '"type": 5'),
        VALID_JSON.replace('"type": "text", ', ""),
        VALID_JSON.replace('"role": "user"', '"role": "user", "role": "user"'),
        VALID_JSON.replace('"role": "user"', '"role": "user", "content": "b"'),
        VALID_JSON.replace('"role": "user"', '"colour": "red", "role": {"user": null}'),
        VALID_JSON.replace('"role": "user", ', ""),
        VALID_JSON.replace('"user"', '"user", "channel": null, "recipient": nul'),
        VALID_JSON.replace('"user"', '"user", "name": -0'),
        VALID_JSON.replace('"user"', '"user", "name": 1e-7'),
        TOOLS_JSON,
    ],
)
def test_any_text_is_read_as_by_the_package(encoding: Any, text: str) -> None:
    assert_same_passage(encoding, Scripted(text), Scripted(text))


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_text_is_refused_as_by_the_package(encoding: Any, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([VALID_JSON, TOOLS_JSON, OTHER_JSON]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 3)))
        inserted = data.draw(st.text(st.sampled_from('{}[]",:\\u-+.0123eEdntf \n\té'), max_size=3))
        text = text[:start] + inserted + text[end:]
    assert_same_passage(encoding, Scripted(text), Scripted(text))


@pytest.mark.parametrize("text", [5, None, b"{}", "\ud800"])
def test_what_is_no_text_is_refused_as_by_the_package(encoding: Any, text: Any) -> None:
    assert_same_passage(encoding, Scripted(text), Scripted(text))
