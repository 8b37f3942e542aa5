"""A model.bin's vocabulary: a .tiktoken file, a tokenizer.json or the package's o200k_base."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from uuid import UUID

from gptoss.errors import ConversionError
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base, parse_tiktoken

UNNAMED = bytes(16)
# model.bin names a special token by one of these.
SPECIAL_TOKEN_UUIDS = {
    name: UUID(uuid).bytes
    for name, uuid in {
        "<|start|>": "55a77c2f-8a01-4c54-8ac2-313bfc7e208d",
        "<|message|>": "16e40431-f47f-4b22-b59b-8b278fc30a54",
        "<|end|>": "fcac2f6d-4705-4f6b-b228-642accac7238",
        "<|return|>": "f799ff69-1992-43c4-a3d8-d831f475dc75",
        "<|refusal|>": "e15ba702-28c4-4292-ab8f-ffa434709128",
        "<|constrain|>": "c0bb14c7-6022-49da-ad08-792d67e8b470",
        "<|channel|>": "fd3dda11-c8ab-4033-876e-d93deb172c93",
        "<|call|>": "1220f796-e388-4de5-b487-fe2eb5fe03c0",
        "<|untrusted|>": "07d7da55-b346-4cff-8b37-7cefacf8a3e8",
        "<|end_untrusted|>": "f265bd9c-c717-469e-a447-920687d65d90",
    }.items()
}
# The special tokens that follow the text tokens, as OpenAI's own model.bin files have them. None:
# no name is written. The second is `<|endoftext|>`, which has no UUID; `<|end_untrusted|>`, the
# fourth, has one, which OpenAI's files leave out.
SPECIAL_TOKENS: tuple[str | None, ...] = (
    None,
    None,
    "<|untrusted|>",
    None,
    "<|return|>",
    "<|constrain|>",
    None,
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    None,
    None,
    None,
    "<|call|>",
    "<|refusal|>",
)
# Without these no Harmony conversation can be rendered or read.
REQUIRED_SPECIAL_TOKENS = (
    "<|start|>",
    "<|message|>",
    "<|end|>",
    "<|return|>",
    "<|channel|>",
    "<|constrain|>",
    "<|call|>",
)
# Placeholders in gpt-oss's tokenizer.json, which never name a token of their own.
PLACEHOLDER = re.compile(r"<\|(reserved_\d+|startoftext|endoftext|endofprompt)\|>")
MAX_TOKEN_BYTES = 65535  # model.bin holds a token's length in 16 bits


@dataclass(frozen=True)
class Vocabulary:
    """What model.bin's tokenizer section holds."""

    source: str  # where it comes from, for people
    regex: str
    text_tokens: list[bytes]
    special_uuids: list[bytes]  # of the ids that follow the text tokens

    @property
    def num_tokens(self) -> int:
        """Text and special tokens together: the rows of model.bin's embedding."""
        return len(self.text_tokens) + len(self.special_uuids)


def load_vocabulary(
    file: Path | None, checkpoint_directory: Path, warnings: list[str]
) -> Vocabulary:
    """Read `file`, else a tokenizer.json beside the checkpoint, else the package's o200k_base.

    For a checkpoint in a folder `original`, "beside" includes the folder above, where Hugging Face
    repositories of gpt-oss have their tokenizer.json. Raises ConversionError with one sentence.
    """
    if file is None:
        candidates = [checkpoint_directory / "tokenizer.json"]
        if checkpoint_directory.name == "original":
            candidates.append(checkpoint_directory.parent / "tokenizer.json")
        file = next((candidate for candidate in candidates if candidate.exists()), None)
    if file is None:
        return Vocabulary(
            "o200k_base, which comes with gptoss",
            O200K_BASE_REGEX,
            load_o200k_base(),
            _special_uuids({}, len(load_o200k_base())),
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConversionError(f"The vocabulary {file} cannot be read: {error.strerror}.") from error
    try:
        if content.lstrip()[:1] == b"{":
            vocabulary = _parse_tokenizer_json(content, str(file), warnings)
        else:
            tokens = parse_tiktoken(content)
            vocabulary = Vocabulary(
                str(file), O200K_BASE_REGEX, tokens, _special_uuids({}, len(tokens))
            )
        _check(vocabulary)
    except ValueError as error:
        raise ConversionError(f"The vocabulary {file} cannot be used: {error}.") from error
    return vocabulary


def _check(vocabulary: Vocabulary) -> None:
    seen: dict[bytes, int] = {}
    for token_id, token in enumerate(vocabulary.text_tokens):
        if not 1 <= len(token) <= MAX_TOKEN_BYTES:
            raise ValueError(
                f"token {token_id} has {len(token)} bytes, expected 1 to {MAX_TOKEN_BYTES}"
            )
        if token in seen:
            raise ValueError(f"tokens {seen[token]} and {token_id} are both {token!r}")
        seen[token] = token_id
    missing = [value for value in range(256) if bytes([value]) not in seen]
    if missing:
        raise ValueError(
            f"{len(missing)} of the 256 bytes are no tokens (the first is {missing[0]:#04x}), "
            "so that it cannot express every text"
        )


def _special_uuids(name_of_id: Mapping[int, str], num_text_tokens: int) -> list[bytes]:
    """Return the UUIDs of the special tokens, given those that a tokenizer.json names.

    Its names win over OpenAI's order. A token with a name that model.bin has no UUID for is
    unnamed, but counts: it makes the list reach up to it, so that its embedding is kept.
    """
    names = dict(enumerate(SPECIAL_TOKENS))
    for token_id, name in name_of_id.items():
        index = token_id - num_text_tokens
        if PLACEHOLDER.fullmatch(name):
            continue
        if name in SPECIAL_TOKEN_UUIDS:
            for other, other_name in names.items():
                if other_name == name:
                    names[other] = None
            names[index] = name
        else:
            names[index] = None
    uuids = [UNNAMED] * (max(names) + 1)
    for index, listed in names.items():
        if listed is not None:
            uuids[index] = SPECIAL_TOKEN_UUIDS[listed]
    return uuids


def _parse_tokenizer_json(content: bytes, source: str, warnings: list[str]) -> Vocabulary:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    model = document.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not _is_vocab(vocab):
        raise ValueError("it has no byte pair encoding, an object model.vocab from tokens to ids")
    added = document.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and type(token.get("id")) is int
        for token in added
    ):
        raise ValueError("its added_tokens are no list of objects with an id and a content")
    name_of_id = {token["id"]: token["content"] for token in added}

    text_of_id = {i: text for text, i in vocab.items() if i not in name_of_id}
    num_text_tokens = len(text_of_id)
    missing = next((i for i in range(num_text_tokens) if i not in text_of_id), None)
    if missing is not None:
        raise ValueError(
            f"its {num_text_tokens} text tokens must have the ids 0 to {num_text_tokens - 1}, but "
            f"{missing} is missing, doubled or a special token"
        )
    text_tokens = [_bytes_of(text_of_id[i]) for i in range(num_text_tokens)]
    _check_merges(model.get("merges"), vocab)
    beyond = {i: name for i, name in name_of_id.items() if i >= num_text_tokens}
    if len(beyond) != len(added):
        raise ValueError("two of its added_tokens have the same id")
    special_uuids = _special_uuids(beyond, num_text_tokens)
    if beyond:
        present = set(beyond.values())
        lacking = [name for name in REQUIRED_SPECIAL_TOKENS if name not in present]
        if lacking:
            raise ValueError(f"its added_tokens lack {', '.join(lacking)}")
        custom = sorted(
            name
            for name in present
            if name not in SPECIAL_TOKEN_UUIDS and not PLACEHOLDER.fullmatch(name)
        )
        if custom:
            warnings.append(
                f"model.bin cannot hold the names of the special tokens {', '.join(custom)}: they "
                "keep their ids and weights, and are unnamed."
            )
    return Vocabulary(source, _split_regex(document), text_tokens, special_uuids)


def _is_vocab(vocab: Any) -> TypeGuard[dict[str, int]]:
    return (
        isinstance(vocab, dict)
        and len(vocab) > 0
        and all(type(token_id) is int for token_id in vocab.values())
    )


def _byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of GPT-2's byte-level alphabet stands for.

    Printable Latin-1 characters stand for themselves, and the other bytes, in order, for U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in set(printable)]
    alphabet = {chr(value): value for value in printable}
    alphabet |= {chr(0x100 + index): value for index, value in enumerate(others)}
    return alphabet


_BYTE_ALPHABET = _byte_alphabet()


def _bytes_of(text: str) -> bytes:
    try:
        return bytes([_BYTE_ALPHABET[character] for character in text])
    except KeyError:
        raise ValueError(f"its token {text!r} is not in the byte-level alphabet") from None


def _check_merges(merges: Any, vocab: dict[str, int]) -> None:
    """Check that merges come in the order of the ids that they make.

    model.bin and tiktoken know only the ids' order: elsewhere the same vocabulary would encode text
    differently.
    """
    if not isinstance(merges, list):
        raise ValueError("it has no list model.merges")
    previous = -1
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(x, str) for x in pair)
        ):
            raise ValueError(f"its merge {str(merge)[:60]!r} is no pair of tokens")
        token_id = vocab.get(pair[0] + pair[1])
        if token_id is None:
            raise ValueError(f"its merge {pair} makes no token of its vocabulary")
        if token_id < previous:
            raise ValueError(
                f"its merge {pair} makes the token {token_id}, after one that makes {previous}: "
                "only vocabularies whose ids are ranks can be converted"
            )
        previous = token_id


def _split_regex(document: dict[str, Any]) -> str:
    """Return the pattern that splits text before encoding, from the pre_tokenizer."""
    pre_tokenizer = document.get("pre_tokenizer")
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers") or []
    patterns = [
        step["pattern"]["Regex"]
        for step in steps
        if isinstance(step, dict)
        and step.get("type") == "Split"
        and isinstance(step.get("pattern"), dict)
        and isinstance(step["pattern"].get("Regex"), str)
    ]
    if len(patterns) != 1 or not patterns[0] or "\0" in patterns[0]:
        raise ValueError("its pre_tokenizer does not split by exactly one regular expression")
    return str(patterns[0])
