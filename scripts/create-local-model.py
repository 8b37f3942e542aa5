"""Convert a gpt-oss checkpoint to a model.bin: `gptoss convert` under OpenAI's name and flags.

python scripts/create-local-model.py -s gpt-oss-20b/original -d gpt-oss-20b.bin
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gptoss.cli import convert


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="create-local-model.py",
        description=convert.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-s",
        "--src",
        dest="source",
        metavar="DIR",
        type=Path,
        required=True,
        help="directory with config.json and .safetensors files",
    )
    parser.add_argument(
        "-d",
        "--dst",
        dest="destination",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write",
    )
    convert.add_options(parser)
    return convert.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
