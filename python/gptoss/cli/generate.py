"""`gptoss generate`: one answer to one prompt."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss.cli.arguments import (
    BACKENDS,
    add_precision_options,
    calendar_date,
    non_negative_number,
    positive_integer,
    positive_probability,
    precision_of,
    probability,
    seed,
    well_formed_text,
    whole_number,
)

if TYPE_CHECKING:
    from gptoss import Context, Model
    from gptoss.cli.answer import Answer, TextPrinter
    from gptoss.cli.messages import MessagePrinter
    from gptoss.harmony import HarmonyEncoding, Message
    from gptoss.tokenizer import Tokenizer

DESCRIPTION = """\
Answers one prompt. On a terminal the model's analysis is dimmed and its answer plain; a pipe or a
file gets the answer alone. Speed, seed and how the answer ended go to stderr.
"""

EPILOG = """\
examples:
  gptoss generate -p "What is 47 + 38?"
  gptoss generate model.bin -p "Why is the sky blue?" --effort high
  gptoss generate model.bin --developer "Answer in one line." < question.txt > answer.txt
  gptoss generate model.bin -p "What is the weather in Oslo?" --tools weather.json
  gptoss generate model.bin --raw -p "Once upon a time" --max-tokens 100
  gptoss generate model.bin -p "Name a colour." --json | jq -r '.messages[-1].content'

The system message tells the model who it is (--system), the date (--date) and the effort. What you
want of it goes into the developer message: --developer.

A file for --tools holds a list of functions as OpenAI's API takes them:
  [{"type": "function", "function": {"name": "get_current_weather",
    "description": "Gets the current weather in the provided location.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string",
    "description": "The city."}}, "required": ["location"]}}}]
The model's call is printed; nothing is run.

Ctrl-C stops the answer, with exit code 130.
"""

DEMO_NOTICE = """\
gptoss: no MODEL given, so the built-in demo model answers. It is tiny: it knows some facts about
gpt-oss, small sums and one weather tool. The real weights, 14 GB:
  hf download openai/gpt-oss-20b metal/model.bin --local-dir gpt-oss-20b
  gptoss generate gpt-oss-20b/metal/model.bin -p ...
"""

# The demo model is trained to be right in its first guess; sampling can only make it wrong.
DEMO_TEMPERATURE = 0.0
DEFAULT_TEMPERATURE = 1.0
DEFAULT_EFFORT = "medium"
MIN_P_HELP = "tokens at least P times as likely as the likeliest (0: all)"
# Prefill that takes longer than this shows its progress.
PREFILL_PROGRESS_DELAY = 2.0  # seconds
STOP_TOKENS = ("<|return|>", "<|call|>", "<|endoftext|>")
RAW_STOP_TOKENS = ("<|return|>", "<|endoftext|>")
# What shapes a conversation has no meaning for --raw.
CONVERSATION_OPTIONS = ("system", "developer", "effort", "tools", "date")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `generate` to the command line."""
    parser = subparsers.add_parser(
        "generate",
        help="answer one prompt",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(usage_error=parser.error)
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model.bin; without it the demo model answers")
    text = well_formed_text
    add(
        "-p",
        "--prompt",
        metavar="TEXT",
        type=text,
        help="the prompt; without it, or with -, stdin is read",
    )

    add = parser.add_argument_group("prompt").add_argument
    add("--system", metavar="TEXT", type=text, help="who it is, instead of ChatGPT by OpenAI")
    add("--developer", metavar="TEXT", type=text, help="instructions for the model")
    add("--effort", choices=("low", "medium", "high"), help="how long to think (medium)")
    add("--tools", metavar="FILE", type=Path, help="functions the model may call, a JSON list")
    add(
        "--date", metavar="DATE", type=calendar_date, help="the date it is told, YYYY-MM-DD (today)"
    )
    add("--raw", action="store_true", help="continue the prompt as plain text, without messages")

    add = parser.add_argument_group("sampling").add_argument
    count, number, share = positive_integer, non_negative_number, positive_probability
    add("--max-tokens", metavar="N", type=count, help="stop after N tokens, analysis included")
    add(
        "--temperature", metavar="T", type=number, help="0: always the likeliest token (1; demo: 0)"
    )
    add(
        "--top-p",
        metavar="P",
        type=share,
        default=1.0,
        help="the likeliest tokens up to P (1: all)",
    )
    add(
        "--top-k", metavar="K", type=whole_number, default=0, help="the K likeliest tokens (0: all)"
    )
    add("--min-p", metavar="P", type=probability, default=0.0, help=MIN_P_HELP)
    add("--seed", metavar="N", type=seed, help="the same seed gives the same answer (random)")

    engine = parser.add_argument_group("engine and output")
    add = engine.add_argument
    add("--context-length", metavar="N", type=count, help="most tokens in all (what fits)")
    add(
        "--backend", choices=BACKENDS, default="auto", help="where it runs (auto: the fastest here)"
    )
    add("--threads", metavar="N", type=count, help="threads of the CPU backend (one per processor)")
    add_precision_options(engine)
    add("--json", action="store_true", help="print messages, tokens and timing as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs `gptoss generate`; returns the exit code."""
    if arguments.raw:
        for option in CONVERSATION_OPTIONS:
            if getattr(arguments, option) is not None:
                arguments.usage_error(f"--{option} has no meaning with --raw")
    text = _read_prompt(arguments)

    import gptoss
    from gptoss.cli.answer import Answer

    messages = [] if arguments.raw else _messages(arguments, text)
    start = time.perf_counter()
    model = gptoss.Model(
        arguments.model, arguments.backend, arguments.threads, precision_of(arguments)
    )
    load_seconds = time.perf_counter() - start
    if model.is_demo:
        sys.stderr.write(DEMO_NOTICE)
        sys.stderr.flush()

    tokenizer = model.tokenizer
    encoding = None if arguments.raw else _encoding(model)
    prompt = tokenizer.encode(text) if encoding is None else _render(messages, encoding)
    context = gptoss.Context(model, arguments.context_length or 0)
    context.append(prompt)
    answer = Answer(prompt, load_seconds=load_seconds)
    sampling = _sampling(arguments, model)
    try:
        _prefill(context, answer)
        _decode(context, encoding, answer, arguments, sampling)
    except KeyboardInterrupt:
        answer.finish_reason = "interrupted"
    if arguments.json:
        _print_json(model, encoding, answer, sampling)
    else:
        _print_summary(answer, sampling)
    return 130 if answer.finish_reason == "interrupted" else 0


def _read_prompt(arguments: argparse.Namespace) -> str:
    text: str | None = arguments.prompt
    if text is None or text == "-":
        if sys.stdin is None or (text is None and sys.stdin.isatty()):
            arguments.usage_error("give the prompt with -p TEXT, or pipe it in")
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        if not arguments.raw:  # a text file's last newline is no part of the question
            text = text.rstrip("\r\n")
    if not text:
        arguments.usage_error("the prompt is empty: give one with -p TEXT, or pipe one in")
    return text


def _messages(arguments: argparse.Namespace, text: str) -> list[Message]:
    """The conversation so far: system, developer if there is something to say, user."""
    from datetime import date

    from gptoss.cli.function_file import read_functions
    from gptoss.harmony import DeveloperContent, Message, ReasoningEffort, Role, SystemContent

    effort = ReasoningEffort[(arguments.effort or DEFAULT_EFFORT).upper()]
    system = SystemContent.new().with_reasoning_effort(effort)
    system.with_conversation_start_date(arguments.date or date.today().isoformat())
    if arguments.system is not None:
        system.with_model_identity(arguments.system)
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    if arguments.developer is not None or arguments.tools is not None:
        developer = DeveloperContent(instructions=arguments.developer)
        if arguments.tools is not None:
            developer.with_function_tools(read_functions(arguments.tools))
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    return [*messages, Message.from_role_and_content(Role.USER, text)]


def _encoding(model: Model) -> HarmonyEncoding:
    from gptoss.harmony import HarmonyEncoding

    return HarmonyEncoding.from_tokenizer(model.tokenizer)


def _render(messages: list[Message], encoding: HarmonyEncoding) -> list[int]:
    from gptoss.harmony import Conversation, Role

    conversation = Conversation.from_messages(messages)
    return encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)


def _sampling(arguments: argparse.Namespace, model: Model) -> dict[str, Any]:
    """The sampling arguments of Context.stream, in the order in which they are reported."""
    from random import SystemRandom

    temperature = arguments.temperature
    if temperature is None:
        temperature = DEMO_TEMPERATURE if model.is_demo else DEFAULT_TEMPERATURE
    return {
        "seed": SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed,
        "temperature": temperature,
        "top_p": arguments.top_p,
        "top_k": arguments.top_k,
        "min_p": arguments.min_p,
    }


def _prefill(context: Context, answer: Answer) -> None:
    from gptoss.cli.terminal import ProgressLine, format_duration

    line = ProgressLine(sys.stderr, PREFILL_PROGRESS_DELAY)

    def show(processed: int, total: int) -> None:
        if processed and line.is_due:
            rate = processed / line.elapsed
            left = format_duration((total - processed) / rate)
            line.show(f"prefill: {processed} of {total} tokens, {rate:.1f} tokens/s, {left} left")

    try:
        context.process(progress=show)
        answer.prefill_seconds = line.elapsed
    finally:
        line.clear()


def _decode(
    context: Context,
    encoding: HarmonyEncoding | None,
    answer: Answer,
    arguments: argparse.Namespace,
    sampling: dict[str, Any],
) -> None:
    """Samples the answer, showing it as it comes unless it is wanted as JSON.

    `encoding`: of the messages that the answer has; None for plain text.
    """
    tokenizer = context.model.tokenizer
    names = RAW_STOP_TOKENS if encoding is None else STOP_TOKENS
    stop_tokens = [token for name, token in tokenizer.special_tokens.items() if name in names]
    printer = None if arguments.json else _printer(tokenizer, encoding)
    start = time.perf_counter()
    try:
        stream = context.stream(arguments.max_tokens, stop_tokens=stop_tokens, **sampling)
        for token in stream:
            answer.tokens.append(token)
            answer.decode_seconds = time.perf_counter() - start
            if printer is not None:
                printer.feed(token)
        answer.finish_reason = context.finish_reason
        if answer.tokens and tokenizer.decode(answer.tokens[-1]) == "<|call|>":
            answer.finish_reason = "tool_call"
    finally:
        if printer is not None:
            printer.finish()
    if printer is not None and not printer.answer_began:
        sys.stderr.write(
            f"gptoss: the model was still thinking after {len(answer.tokens)} tokens: for an "
            "answer raise --max-tokens or --context-length, or try --effort low.\n"
        )


def _printer(
    tokenizer: Tokenizer, encoding: HarmonyEncoding | None
) -> TextPrinter | MessagePrinter:
    if encoding is None:
        from gptoss.cli.answer import TextPrinter

        return TextPrinter(tokenizer, sys.stdout)
    from gptoss.cli.messages import MessagePrinter

    return MessagePrinter(encoding, sys.stdout)


def _print_summary(answer: Answer, sampling: dict[str, Any]) -> None:
    from gptoss.cli.terminal import dim, has_styles

    greedy = sampling["temperature"] == 0
    line = answer.summary("greedy" if greedy else f"seed {sampling['seed']}")
    sys.stderr.write((dim(line) if has_styles(sys.stderr) else line) + "\n")


def _print_json(
    model: Model, encoding: HarmonyEncoding | None, answer: Answer, sampling: dict[str, Any]
) -> None:
    import json

    tokenizer = model.tokenizer
    messages: dict[str, list[Any]] = {"messages": [], "tool_calls": [], "repairs": []}
    if encoding is not None:
        from gptoss.cli.messages import answer_as_json

        messages = answer_as_json(answer.tokens, encoding)
    report = {
        "model": {
            "path": str(model.path),
            "is_demo": model.is_demo,
            "backend": model.backend,
            "threads": model.threads,
            "precision": model.precision,
        },
        "prompt_tokens": answer.prompt_tokens,
        **messages,
        "text": tokenizer.decode(answer.tokens),
        "tokens": answer.tokens,
        "finish_reason": answer.finish_reason,
        "sampling": sampling,
        "timing": answer.timing(),
    }
    print(json.dumps(report, ensure_ascii=False))
