"""Converting gpt-oss checkpoints from SafeTensors to model.bin, and a model.bin to a smaller one.

`convert` and `requantize` are the whole interface. A conversion reads config.json and the tensors'
descriptions (`checkpoint`, `safetensors_file`), checks them (`checkpoint_config`,
`checkpoint_weights`, `tokenizer_source`), decides what stands where (`file_header`, `file_layout`),
and streams the tensors through (`file_items`, `mxfp4`, `q8`) into a file that appears only when it
is complete (`file_writer`, `output_file`).
"""

from gptoss.convert.conversion import ConversionReport, DenseFormat, convert
from gptoss.convert.file_writer import Progress
from gptoss.convert.requantize import RequantizationReport, requantize
from gptoss.errors import ConversionError

__all__ = [
    "ConversionError",
    "ConversionReport",
    "DenseFormat",
    "Progress",
    "RequantizationReport",
    "convert",
    "requantize",
]
