"""`gptoss perplexity`: how well a model predicts a text, and how far it is from another one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss.cli.arguments import (
    BACKENDS,
    add_precision_options,
    positive_integer,
    precision_of,
)

if TYPE_CHECKING:
    from gptoss import Model
    from gptoss.perplexity.measurement import Measurement
    from gptoss.perplexity.scores import Estimate
    from gptoss.perplexity.windows import Window

DESCRIPTION = """\
Measures how well a model predicts a text: its perplexity. With --against or --against-backend also
how far its predictions are from a reference's, as KL divergence: what a file's quantisation, a
backend or its arithmetic costs. The reference always computes in exact precision.
"""

EPILOG = """\
examples:
  gptoss perplexity model.bin text.txt
  gptoss perplexity model.bin text.txt --against model.bin      default precision against exact
  gptoss perplexity model.bin text.txt --against model.bin --fast                fast against exact
  gptoss perplexity q8.bin text.txt --against model.bin --exact 8-bit weights against bf16
  gptoss perplexity model.bin text.txt --against-backend cpu    this machine's GPU against its CPU
  git log -p | gptoss perplexity model.bin - --windows 20 --json

The text is cut into windows of --context-length tokens, each processed from nothing, of which the
second half counts; with --stride N they begin N tokens apart, and the last N of each count. What
does not fill a window is left out. Numbers compare only between equal settings.
"""

DEFAULT_CONTEXT_LENGTH = 512


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `perplexity` to the command line."""
    parser = subparsers.add_parser(
        "perplexity",
        help="measure how well a model predicts a text, and compare models",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model.bin")
    add("file", metavar="FILE", help="a text in UTF-8; -: stdin")
    count = positive_integer
    reference = parser.add_mutually_exclusive_group()
    reference.add_argument("--against", metavar="MODEL2", help="compare with another model.bin")
    reference.add_argument(
        "--against-backend", choices=BACKENDS, help="compare with the model on another backend"
    )
    add(
        "--context-length",
        metavar="N",
        type=count,
        default=DEFAULT_CONTEXT_LENGTH,
        help="tokens of a window (512)",
    )
    add("--stride", metavar="N", type=count, help="tokens from window to window, which all count")
    add("--windows", metavar="N", type=count, help="stop after N windows (all)")
    add(
        "--special-tokens",
        action="store_true",
        help="take spellings such as <|start|> in FILE for the tokens, not for ordinary text",
    )
    add(
        "--backend", choices=BACKENDS, default="auto", help="where it runs (auto: the fastest here)"
    )
    add("--threads", metavar="N", type=count, help="threads of the CPU backend (one per core)")
    add_precision_options(parser)
    add("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Runs `gptoss perplexity`; returns the exit code."""
    text = _read_text(arguments.file)

    import json

    import gptoss
    from gptoss.cli.terminal import ProgressLine, format_duration
    from gptoss.perplexity.measurement import measure
    from gptoss.perplexity.windows import cut_windows, tokens_of_text

    model = gptoss.Model(
        arguments.model, arguments.backend, arguments.threads, precision_of(arguments)
    )
    length = arguments.context_length
    if length > model.max_context_length:
        raise ValueError(
            f"A context length of {length} tokens is above this model's maximum of "
            f"{model.max_context_length}."
        )
    reference = _reference(arguments, model)
    tokens = tokens_of_text(text, model.tokenizer, arguments.special_tokens)
    windows = cut_windows(tokens, length, arguments.stride, arguments.windows)
    line = ProgressLine(sys.stderr)

    def show(done: int, measurement: Measurement) -> None:
        if line.is_due:
            left = format_duration(line.elapsed / done * (len(windows) - done))
            value = measurement.scores.perplexity.mean
            line.show(f"window {done} of {len(windows)}: perplexity {value:.4f}, {left} left")

    try:
        measurement = measure(model, windows, reference, show)
    finally:
        line.clear()
    if arguments.json:
        report = _as_json(arguments, model, reference, len(tokens), windows, measurement)
        print(json.dumps(report | {"seconds": line.elapsed}, indent=2))
    else:
        print(_describe(model, reference, windows, measurement))
    return 0


def _read_text(file: str) -> str:
    """The whole text; it is the logits that are large."""
    if file == "-":
        name, data = "stdin", b"" if sys.stdin is None else sys.stdin.buffer.read()
    else:
        name, data = file, Path(file).read_bytes()
    if not data:
        raise ValueError(f"{name} is empty: there is nothing to predict.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not text in UTF-8: found the byte 0x{data[error.start]:02x} at offset "
            f"{error.start}. Convert it first, for example with iconv."
        ) from None


def _reference(arguments: argparse.Namespace, model: Model) -> Model | None:
    import gptoss

    if arguments.against is not None:
        return gptoss.Model(arguments.against, arguments.backend, arguments.threads, "exact")
    if arguments.against_backend is not None:
        return gptoss.Model(model.path, arguments.against_backend, arguments.threads, "exact")
    return None


def _describe(
    model: Model, reference: Model | None, windows: list[Window], measurement: Measurement
) -> str:
    scores, comparison = measurement.scores, measurement.comparison
    lines = [
        f"{_name(model)}",
        f"  {len(windows)} windows of {len(windows[0].tokens)} tokens, {len(scores.losses)} "
        "predictions",
        f"  perplexity                {_pair(scores.perplexity, '.4f')}",
        f"  nats per token            {_pair(scores.loss, '.5f')}",
    ]
    if reference is not None and comparison is not None and measurement.reference is not None:
        same = comparison.same_likeliest
        share = f"{100 * same.mean:.3f} % +- {100 * same.standard_error:.3f} %"
        lines += [
            f"against {_name(reference)}",
            f"  its perplexity            {_pair(measurement.reference.perplexity, '.4f')}",
            f"  ln of the ratio           {_pair(measurement.log_ratio, '.2e')}",
            f"  KL divergence, mean       {_pair(comparison.divergence, '.2e')}",
            f"                 median     {comparison.divergence_quantile(0.5):.2e}",
            f"                 99 %       {comparison.divergence_quantile(0.99):.2e}",
            f"                 maximum    {comparison.divergence_quantile(1):.2e}",
            f"  same likeliest token      {share}",
            f"  largest logit difference  {comparison.max_logit_difference:.2e}",
        ]
    return "\n".join(lines)


def _name(model: Model) -> str:
    return f"{model.path} (backend {model.backend}, precision {model.precision})"


def _pair(estimate: Estimate, form: str) -> str:
    return f"{estimate.mean:{form}} +- {estimate.standard_error:{form}}"


def _as_json(
    arguments: argparse.Namespace,
    model: Model,
    reference: Model | None,
    num_tokens: int,
    windows: list[Window],
    measurement: Measurement,
) -> dict[str, Any]:
    scores = measurement.scores
    report: dict[str, Any] = {
        "model": _model_as_json(model),
        "text": {"file": arguments.file, "tokens": num_tokens},
        "windows": len(windows),
        "context_length": arguments.context_length,
        "stride": arguments.stride,
        "predictions": len(scores.losses),
        "perplexity": _estimate_as_json(scores.perplexity),
        "nats_per_token": _estimate_as_json(scores.loss),
        "against": None,
    }
    comparison = measurement.comparison
    if reference is not None and comparison is not None and measurement.reference is not None:
        report["against"] = {
            "model": _model_as_json(reference),
            "perplexity": _estimate_as_json(measurement.reference.perplexity),
            "log_ratio": _estimate_as_json(measurement.log_ratio),
            "kl_divergence": {
                **_estimate_as_json(comparison.divergence),
                "median": comparison.divergence_quantile(0.5),
                "quantile_99": comparison.divergence_quantile(0.99),
                "maximum": comparison.divergence_quantile(1),
            },
            "same_likeliest": _estimate_as_json(comparison.same_likeliest),
            "max_logit_difference": comparison.max_logit_difference,
        }
    return report


def _model_as_json(model: Model) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "backend": model.backend,
        "threads": model.threads,
        "precision": model.precision,
    }


def _estimate_as_json(estimate: Estimate) -> dict[str, float | None]:
    """Without NaN, which JSON has not."""
    values = {"mean": estimate.mean, "standard_error": estimate.standard_error}
    return {name: value if value == value else None for name, value in values.items()}
