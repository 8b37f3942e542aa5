"""Converting gpt-oss checkpoints from SafeTensors to model.bin.

`convert` is the whole interface. A conversion reads config.json and the tensors' descriptions
(`checkpoint`, `safetensors_file`), checks them (`checkpoint_config`, `checkpoint_weights`,
`tokenizer_source`), decides what stands where (`file_header`, `file_layout`), and streams the
tensors through (`file_items`, `mxfp4`) into a file that appears only when it is complete
(`output_file`).
"""

from gptoss.convert.conversion import ConversionReport, Progress, convert
from gptoss.errors import ConversionError

__all__ = ["ConversionError", "ConversionReport", "Progress", "convert"]
