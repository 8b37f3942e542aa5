"""Make python/gptoss/data/o200k_base.zlib, the shipped vocabulary, from o200k_base.tiktoken.

    python scripts/pack-vocabulary.py o200k_base.tiktoken

A developer runs it once; the file changes only if the way of packing does. The input's hash is
checked, and so is that the packed form gives the input back.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from gptoss import vocabulary

DESTINATION = Path(__file__).resolve().parents[1] / "python/gptoss/data/o200k_base.zlib"
O200K_BASE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "tiktoken_file", type=Path, help="o200k_base.tiktoken as OpenAI publishes it"
    )
    arguments = parser.parse_args()

    original = arguments.tiktoken_file.read_bytes()
    digest = hashlib.sha256(original).hexdigest()
    if digest != O200K_BASE_SHA256:
        print(
            f"{arguments.tiktoken_file} has the sha256 {digest}, expected {O200K_BASE_SHA256}.",
            file=sys.stderr,
        )
        return 1
    tokens = vocabulary.parse_tiktoken(original)
    packed = vocabulary.pack_tokens(tokens)
    if vocabulary.format_tiktoken(vocabulary.unpack_tokens(packed, len(tokens))) != original:
        print("The packed vocabulary does not give the original back.", file=sys.stderr)
        return 1
    DESTINATION.write_bytes(packed)
    print(f"{DESTINATION}: {len(tokens)} tokens, {len(original)} -> {len(packed)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
