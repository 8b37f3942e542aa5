"""What `benchmark-harmony.py` times in its own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harmony_benchmark.samples import Samples

# Takes a module and its encoding and returns what is timed.
Prepare = Callable[[Any, Any], Callable[[], Any]]
Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Row:
    """Something to measure in this process.

    `prepare` takes a module and its encoding and returns what is timed; its result is compared
    among the modules by `comparable`. `num_items` divides the time: a row's unit is "ms" for a
    whole run, or "µs/token" and the like for one item.
    """

    key: str
    title: str
    unit: str
    num_items: int
    prepare: Prepare


def scaled(number: int, scale: float, least: int = 1) -> int:
    return max(least, round(number * scale))


def render_rows(scale: float) -> list[Row]:
    """Conversations to tokens."""
    num_messages, num_tools = scaled(200, scale, least=4), scaled(20, scale)
    num_turns = scaled(20, scale, least=2)

    def prepare(make: Callable[[Any], Sequence[Any]]) -> Prepare:
        def prepared(harmony: Any, encoding: Any) -> Callable[[], Any]:
            conversations, role = make(harmony), harmony.Role.ASSISTANT
            render = encoding.render_conversation_for_completion
            return lambda: [render(conversation, role) for conversation in conversations]

        return prepared

    return [
        Row(
            "render-small",
            "render 3 messages",
            "ms",
            1,
            prepare(lambda harmony: [Samples().small_conversation(harmony)]),
        ),
        Row(
            "render-large",
            f"render {num_messages} messages, {num_tools} tools",
            "ms",
            1,
            prepare(
                lambda harmony: [Samples().large_conversation(harmony, num_messages, num_tools)]
            ),
        ),
        Row(
            "render-chat",
            f"render a chat at each of its {num_turns} turns",
            "ms",
            1,
            prepare(lambda harmony: Samples().growing_chat(harmony, num_turns)),
        ),
    ]


def stream_rows(scale: float, encode: Encode, stops: Sequence[int]) -> list[Row]:
    """Completions, token by token and at once."""

    def completion(num_tokens: int) -> list[int]:
        """The complete messages within so many tokens."""
        tokens = encode(Samples().completion(num_tokens))[: max(num_tokens, 1500)]
        while tokens[-1] not in stops:
            tokens.pop()
        return tokens

    tokens, fewer = completion(scaled(50_000, scale)), completion(scaled(10_000, scale))
    one_message = encode(Samples().one_message(scaled(5_000, scale)))[: scaled(5_000, scale, 20)]
    calls = encode(Samples.calls(scaled(3_000, scale)))
    num_calls = scaled(3_000, scale)
    header = encode(Samples.calls(1))[:14]

    def parse_all(tokens: list[int]) -> Prepare:
        def prepared(harmony: Any, encoding: Any) -> Callable[[], Any]:
            parse = encoding.parse_messages_from_completion_tokens
            role = None if tokens is calls else harmony.Role.ASSISTANT
            return lambda: parse(tokens, role)

        return prepared

    def stream(tokens: list[int], read: Callable[[Any], Any]) -> Prepare:
        def prepared(harmony: Any, encoding: Any) -> Callable[[], Any]:
            role = None if tokens in (calls, header) else harmony.Role.ASSISTANT

            def run() -> Any:
                parser = harmony.StreamableParser(encoding, role)
                for token in tokens:
                    parser.process(token)
                    # Kept until the next token, as a program would.
                    values = read(parser)
                del values
                return parser

            return run

        return prepared

    def read_usual(parser: Any) -> Any:
        return parser.last_content_delta, parser.current_channel, parser.current_recipient

    def read_all(parser: Any) -> Any:
        return (
            *read_usual(parser),
            parser.current_content,
            parser.state,
            parser.current_role,
            parser.current_content_type,
        )

    def read_nothing(parser: Any) -> Any:
        return None

    def stream_at_once(harmony: Any, encoding: Any) -> Callable[[], Any]:
        if not hasattr(harmony.StreamableParser, "process_many"):
            return stream(tokens, read_nothing)(harmony, encoding)  # what it offers instead
        new_parser, role = harmony.StreamableParser, harmony.Role.ASSISTANT
        return lambda: new_parser(encoding, role).process_many(tokens)

    per_token = "µs/token"
    return [
        Row(
            "parse",
            f"parse {len(tokens):,} tokens at once",
            per_token,
            len(tokens),
            parse_all(tokens),
        ),
        Row(
            "stream",
            f"stream {len(tokens):,} tokens; delta, channel, recipient",
            per_token,
            len(tokens),
            stream(tokens, read_usual),
        ),
        Row(
            "stream-all",
            f"stream {len(fewer):,} tokens; every property",
            per_token,
            len(fewer),
            stream(fewer, read_all),
        ),
        Row(
            "stream-all-long",
            f"stream 1 message of {len(one_message):,} tokens; every property",
            per_token,
            len(one_message),
            stream(one_message, read_all),
        ),
        Row(
            "stream-many",
            f"{len(tokens):,} tokens through process_many (or process)",
            per_token,
            len(tokens),
            stream_at_once,
        ),
        Row(
            "headers-stream",
            f"stream {num_calls:,} headers of 14 tokens; as above",
            "µs/message",
            num_calls,
            stream(calls, read_usual),
        ),
        Row(
            "headers-parse",
            f"parse {num_calls:,} headers of 14 tokens at once",
            "µs/message",
            num_calls,
            parse_all(calls),
        ),
        Row(
            "header-one",
            "a new parser and one header of 14 tokens",
            "µs",
            1,
            stream(header, read_nothing),
        ),
    ]


def text_rows(scale: float, encode: Encode) -> list[Row]:
    """Text to tokens and back."""
    text = Samples().long_text(scaled(40_000, scale))
    tokens = encode(text)
    title = f"{len(tokens):,} tokens of text"
    return [
        Row(
            "encode", f"encode {title}", "ms", 1, lambda _, encoding: lambda: encoding.encode(text)
        ),
        Row(
            "decode",
            f"decode {title}",
            "ms",
            1,
            lambda _, encoding: lambda: encoding.decode(tokens),
        ),
    ]
