// What stands before the weights of a model file, in either layout: magic, configuration, vocabulary.
#pragma once

#include "model_file.h"
#include "model_file_reader.h"

namespace gptoss {

enum class WeightLayout {
    sequential, // version 1.0: where a tensor is follows from the configuration
    table,      // our own, where a table of tensors says it
};

struct ModelHeader {
    ModelConfig config;
    WeightLayout layout;
    TokenizerPlaces tokenizer;
};

// Reads from the start of the file up to the end of the vocabulary.
ModelHeader read_header(Reader& reader);

} // namespace gptoss
