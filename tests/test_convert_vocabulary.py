"""Where a model.bin's vocabulary comes from, and how a tokenizer.json becomes one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import (
    TINY,
    Checkpoint,
    random_checkpoint,
    write_hugging_face_checkpoint,
    write_openai_checkpoint,
    write_vocabulary,
)
from gptoss.convert import ConversionError, convert
from gptoss.convert.tokenizer_source import (
    SPECIAL_TOKEN_UUIDS,
    UNNAMED,
    Vocabulary,
    load_vocabulary,
)
from gptoss.vocabulary import O200K_BASE_REGEX, format_tiktoken, load_o200k_base

NUM_TEXT_TOKENS = TINY.num_text_tokens
# As in the tokenizer.json of openai/gpt-oss-20b, from the first id behind the text tokens on.
ADDED_TOKENS = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|reserved_200000|>",
    "<|reserved_200001|>",
    "<|return|>",
    "<|constrain|>",
    "<|reserved_200004|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|reserved_200009|>",
    "<|reserved_200010|>",
    "<|reserved_200011|>",
    "<|call|>",
    "<|reserved_200013|>",
    "<|reserved_200014|>",
    "<|reserved_200015|>",
    "<|reserved_200016|>",
    "<|reserved_200017|>",
    "<|endofprompt|>",
]


# GPT-2's alphabet: a byte that is no printable Latin-1 character becomes U+0100, U+0101 ...
OTHERS = [b for b in range(256) if not (33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255)]
ALPHABET = {b: 256 + OTHERS.index(b) if b in OTHERS else b for b in range(256)}


def byte_level(token: bytes) -> str:
    """Spell a token in GPT-2's alphabet."""
    return token.decode("latin-1").translate(ALPHABET)


def tokenizer_json(text_tokens: list[bytes], added_tokens: list[str]) -> dict[str, Any]:
    """A tokenizer.json as transformers makes it from a .tiktoken file."""
    rank = {token: index for index, token in enumerate(text_tokens)}
    merges = [
        [byte_level(token[:cut]), byte_level(token[cut:])]
        for token in text_tokens
        for cut in range(1, len(token))
        if token[:cut] in rank and token[cut:] in rank
    ]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": len(text_tokens) + index, "content": content, "special": True}
            for index, content in enumerate(added_tokens)
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": O200K_BASE_REGEX},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": {byte_level(token): index for token, index in rank.items()},
            "merges": merges,
        },
    }


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(TINY, seed=1)


@pytest.fixture
def document() -> dict[str, Any]:
    return tokenizer_json(load_o200k_base()[:NUM_TEXT_TOKENS], ADDED_TOKENS)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[object], Vocabulary]:
    """Writes a document as tokenizer.json and loads it."""

    def load_(document: object) -> Vocabulary:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return load_vocabulary(path, tmp_path, [])

    return load_


def test_without_a_file_it_is_o200k_base(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(None, tmp_path, [])
    assert vocabulary.source == "o200k_base, which comes with gptoss"
    assert vocabulary.text_tokens == load_o200k_base()
    assert vocabulary.regex == O200K_BASE_REGEX
    assert vocabulary.num_tokens == 200014
    ids = {uuid: 199998 + index for index, uuid in enumerate(vocabulary.special_uuids)}
    named = {name: ids[uuid] for name, uuid in SPECIAL_TOKEN_UUIDS.items() if uuid in ids}
    assert named == {
        "<|untrusted|>": 200000,
        "<|return|>": 200002,
        "<|constrain|>": 200003,
        "<|channel|>": 200005,
        "<|start|>": 200006,
        "<|end|>": 200007,
        "<|message|>": 200008,
        "<|call|>": 200012,
        "<|refusal|>": 200013,
    }


def test_the_special_tokens_are_those_of_harmony(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmony = pytest.importorskip("openai_harmony", reason="openai-harmony is not installed")
    # Where it looks before it downloads.
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    (tmp_path / "o200k_base.tiktoken").write_bytes(format_tiktoken(load_o200k_base()))
    encoding = harmony.load_harmony_encoding("HarmonyGptOss")
    ids = {
        uuid: 199998 + index
        for index, uuid in enumerate(load_vocabulary(None, Path(), []).special_uuids)
    }
    for name in ("start", "end", "message", "channel", "constrain", "call", "return"):
        name = f"<|{name}|>"
        assert encoding.encode(name, allowed_special="all") == [ids[SPECIAL_TOKEN_UUIDS[name]]]


def test_a_tokenizer_json_gives_the_same_as_the_tiktoken_file(
    tmp_path: Path, load: Callable[[object], Vocabulary], document: object
) -> None:
    by_json = load(document)
    tiktoken = load_vocabulary(write_vocabulary(tmp_path, NUM_TEXT_TOKENS), tmp_path, [])
    assert by_json.text_tokens == tiktoken.text_tokens
    assert by_json.regex == tiktoken.regex
    assert by_json.special_uuids == tiktoken.special_uuids


def test_a_whole_tokenizer_json_gives_the_same_as_the_package(
    load: Callable[[object], Vocabulary], tmp_path: Path
) -> None:
    """The size of the real one: 199,998 tokens, whose merges are too slow to make here."""
    document = tokenizer_json(load_o200k_base()[:256], [])
    document["model"]["vocab"] = {
        byte_level(token): index for index, token in enumerate(load_o200k_base())
    }
    document["added_tokens"] = [
        {"id": 199998 + index, "content": content} for index, content in enumerate(ADDED_TOKENS)
    ]
    by_json, shipped = load(document), load_vocabulary(None, tmp_path / "elsewhere", [])
    assert by_json.text_tokens == shipped.text_tokens
    assert by_json.special_uuids == shipped.special_uuids


@pytest.mark.parametrize("layout", ["openai", "original", "hugging_face"])
def test_a_tokenizer_json_beside_the_checkpoint_is_used(
    tmp_path: Path, checkpoint: Checkpoint, document: object, layout: str
) -> None:
    source = tmp_path / "checkpoint"
    if layout == "hugging_face":
        write_hugging_face_checkpoint(source, TINY, checkpoint)
    else:
        folder = source / "original" if layout == "original" else source
        write_openai_checkpoint(folder, TINY, checkpoint)
    (source / "tokenizer.json").write_text(json.dumps(document))
    report = convert(source)
    assert report.vocabulary == str(source / "tokenizer.json")


def test_the_option_is_stronger_than_a_tokenizer_json(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(tmp_path, TINY, checkpoint)
    (tmp_path / "tokenizer.json").write_text("not even JSON")
    vocabulary = write_vocabulary(tmp_path, NUM_TEXT_TOKENS)
    assert convert(tmp_path, vocabulary=vocabulary).vocabulary == str(vocabulary)


def test_names_in_the_tokenizer_json_are_stronger_than_openai_s_order(
    load: Callable[[object], Vocabulary],
) -> None:
    names = list(ADDED_TOKENS[:16])
    names[4], names[3] = "<|reserved_200002|>", "<|return|>"
    names[15] = "<|mine|>"
    uuids = load(tokenizer_json(load_o200k_base()[:NUM_TEXT_TOKENS], names)).special_uuids
    assert uuids[3] == SPECIAL_TOKEN_UUIDS["<|return|>"]
    assert uuids[4] == UNNAMED
    assert uuids[15] == UNNAMED  # not <|refusal|>
    assert uuids[5] == SPECIAL_TOKEN_UUIDS["<|constrain|>"]


def test_tokens_that_were_added_for_a_fine_tune_keep_their_rows(tmp_path: Path) -> None:
    names = [*ADDED_TOKENS[:19], "<|mine|>", "<|endofprompt|>"]
    document = tokenizer_json(load_o200k_base()[:NUM_TEXT_TOKENS], names)
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    warnings: list[str] = []
    vocabulary = load_vocabulary(None, tmp_path, warnings)
    assert len(vocabulary.special_uuids) == 20
    assert vocabulary.special_uuids[16:] == [UNNAMED] * 4
    assert warnings == [
        "model.bin cannot hold the names of the special tokens <|mine|>: they keep their ids and "
        "weights, and are unnamed."
    ]


def test_merges_may_be_strings(load: Callable[[object], Vocabulary], document: Any) -> None:
    """tokenizers before 0.20 wrote them so."""
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    assert len(load(document).text_tokens) == NUM_TEXT_TOKENS


def without(*path: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def with_value(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def swap_merges(document: Any) -> None:
    merges = document["model"]["merges"]
    merges[0], merges[-1] = merges[-1], merges[0]


def rename(old: str, new: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        vocab = document["model"]["vocab"]
        vocab[new] = vocab.pop(old)

    return change


SPLIT = ("pre_tokenizer", "pretokenizers", 0, "pattern")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("model"), "it has no byte pair encoding"),
        (with_value("WordPiece", "model", "type"), "it has no byte pair encoding"),
        (with_value({}, "model", "vocab"), "it has no byte pair encoding"),
        (with_value({"a": "b"}, "model", "vocab"), "it has no byte pair encoding"),
        (with_value({}, "added_tokens"), "its added_tokens are no list of objects"),
        (with_value([{"id": 3}], "added_tokens"), "its added_tokens are no list of objects"),
        (with_value(1000, "model", "vocab", "a"), "but 64 is missing, doubled or a special token"),
        (with_value(5, "model", "vocab", "a"), "is missing, doubled or a special token"),
        (with_value(5, "added_tokens", 0, "id"), "is missing, doubled or a special token"),
        (with_value(449, "added_tokens", 0, "id"), "two of its added_tokens have the same id"),
        (with_value("<|other|>", "added_tokens", 8, "content"), "its added_tokens lack <|start|>"),
        (rename("a", "\u3042"), "its token '\u3042' is not in the byte-level alphabet"),
        (rename("a", "bbbbb"), "1 of the 256 bytes are no tokens (the first is 0x61)"),
        (rename("a", ""), "token 64 has 0 bytes, expected 1 to 65535"),
        (rename("a", "b" * 65536), "token 64 has 65536 bytes, expected 1 to 65535"),
        (without("model", "merges"), "it has no list model.merges"),
        (with_value([3], "model", "merges"), "its merge '3' is no pair of tokens"),
        (with_value([["a"]], "model", "merges"), "is no pair of tokens"),
        (with_value([["a", "\u3042"]], "model", "merges"), "makes no token of its vocabulary"),
        (swap_merges, "only vocabularies whose ids are ranks can be converted"),
        (without("pre_tokenizer"), "does not split by exactly one regular expression"),
        (with_value({"String": " "}, *SPLIT), "does not split by exactly one regular expression"),
        (with_value({"Regex": ""}, *SPLIT), "does not split by exactly one regular expression"),
        (with_value({"Regex": "a\0b"}, *SPLIT), "does not split by exactly one regular expression"),
    ],
)
def test_tokenizers_that_no_model_bin_can_express(
    load: Callable[[object], Vocabulary],
    document: Any,
    change: Callable[[Any], None],
    sentence: str,
) -> None:
    change(document)
    with pytest.raises(ConversionError) as caught:
        load(document)
    assert str(caught.value).startswith("The vocabulary ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "it is no JSON"),
        (b'{"a": ' + b"[" * 100_000, "it is no JSON"),
        (b"hello world", "line 1 is not 'BASE64 RANK': 'hello world'"),
        (b"", "256 of the 256 bytes are no tokens"),
        (b"IQ== 0\nIQ== 1\n", "tokens 0 and 1 are both b'!'"),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "vocabulary"
    path.write_bytes(content)
    with pytest.raises(ConversionError) as caught:
        load_vocabulary(path, tmp_path, [])
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"The vocabulary {path} cannot be used: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="absent cannot be read: No such file or directory"):
        load_vocabulary(tmp_path / "absent", tmp_path, [])
    with pytest.raises(ConversionError, match="cannot be read: Is a directory"):
        load_vocabulary(tmp_path, tmp_path, [])
