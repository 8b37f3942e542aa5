#include "model_file_table.h"

#include <algorithm>
#include <utility>

#include "checksum.h"

namespace gptoss {

namespace {

constexpr uint64_t kTableAlignment = 64;
constexpr uint64_t kTensorAlignment = 64; // a line of the processors' caches
constexpr uint32_t kEntryBytes = 128;
constexpr uint32_t kMaxDims = 4;

// Offsets of an entry's fields, for the sentences.
namespace entry_field {
constexpr uint64_t kDataType = 64;
constexpr uint64_t kShape = 72;
constexpr uint64_t kOffset = 104;
constexpr uint64_t kNumBytes = 112;
constexpr uint64_t kReserved = 124;
} // namespace entry_field

// Bytes of an element of a tensor; 0: no data type of this version.
uint64_t element_bytes(uint32_t data_type) {
    switch (data_type) {
        case gptoss_data_type_bf16:
        case gptoss_data_type_q8_scales:
            return 2;
        case gptoss_data_type_mxfp4_blocks:
        case gptoss_data_type_mxfp4_scales:
        case gptoss_data_type_q8_codes:
            return 1;
    }
    return 0;
}

std::string format_shape(std::span<const uint64_t> shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); i++) {
        text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    }
    return text + "]";
}

std::span<const uint64_t> shape_of(const gptoss_tensor& tensor) {
    return {tensor.shape, tensor.num_dims};
}

// The name of an entry, without what fills its place.
std::string read_name(Reader& reader, char (&name)[sizeof(gptoss_tensor::name)]) {
    const uint64_t start = reader.offset();
    std::memcpy(name, reader.take(sizeof(name), "tensor name"), sizeof(name));
    const auto end = std::find(std::begin(name), std::end(name), '\0');
    const bool printable = std::all_of(std::begin(name), end, [](char c) { return c > ' ' && c <= '~'; });
    const bool filled = std::all_of(end, std::end(name), [](char c) { return c == '\0'; });
    if (end == std::begin(name) || end == std::end(name) || !printable || !filled) {
        reader.reject(start, "expected a tensor's name of 1 to ", sizeof(name) - 1,
                      " printable characters and zeros up to 64 bytes, found something else");
    }
    return std::string(std::begin(name), end);
}

} // namespace

TableLayout::TableLayout(Reader& reader, const ModelConfig& config) : reader_(reader), config_(config) {
    reader_.align(kTableAlignment, "padding before the table of tensors");
    const uint64_t table_offset = reader_.offset();
    const auto num_tensors = reader_.value<uint32_t>("number of tensors");
    const auto entry_bytes = reader_.value<uint32_t>("size of a tensor's entry");
    const auto file_bytes = reader_.value<uint64_t>("size of the file");
    if (entry_bytes != kEntryBytes) {
        reader_.reject(table_offset + 4, "expected entries of ", kEntryBytes, " bytes for each tensor, found ",
                       entry_bytes, ": the file was written for a newer version of this program");
    }
    if (file_bytes > reader_.size()) {
        reader_.reject(table_offset + 8, "expected a file of ", file_bytes, " bytes, found ", reader_.size(),
                       ": it is truncated or damaged, so copy or convert it again");
    }
    if (file_bytes < reader_.size()) {
        reader_.reject(file_bytes, "expected the end of the file, found ", reader_.size() - file_bytes,
                       " more bytes: the header does not describe this file");
    }
    entries_offset_ = reader_.offset();
    // Before anything is allocated for them.
    reader_.require(uint64_t{num_tensors} * kEntryBytes + sizeof(uint32_t), "table of tensors");
    tensors_.reserve(num_tensors);
    uint64_t end = entries_offset_ + uint64_t{num_tensors} * kEntryBytes + sizeof(uint32_t);
    for (size_t index = 0; index < num_tensors; index++) {
        const gptoss_tensor tensor = read_entry();
        if (tensor.offset < end) {
            reader_.reject(offset_of(index) + entry_field::kOffset, "expected the tensor '", tensor.name,
                           "' behind the ", index == 0 ? "table" : "tensor before it", ", which ends at ", end,
                           ", found the offset ", tensor.offset);
        }
        if (!index_of_.emplace(tensor.name, index).second) {
            reader_.reject(offset_of(index), "expected each tensor once, found '", tensor.name,
                           "' for the second time");
        }
        end = tensor.offset + tensor.num_bytes;
        tensors_.push_back(tensor);
    }
    if (end != reader_.size()) {
        reader_.reject(end, "expected the end of the file behind the last tensor, found ", reader_.size() - end,
                       " more bytes: the table does not describe this file");
    }
    const uint64_t checksum_offset = reader_.offset();
    const uint32_t computed = crc32(reader_.bytes().first(checksum_offset));
    const auto checksum = reader_.value<uint32_t>("checksum of the header");
    if (checksum != computed) {
        reader_.reject(checksum_offset, "expected the checksum ", computed, " of all bytes before it, found ", checksum,
                       ": the file is damaged, so copy or convert it again");
    }
}

uint64_t TableLayout::offset_of(size_t index) const {
    return entries_offset_ + uint64_t{index} * kEntryBytes;
}

gptoss_tensor TableLayout::read_entry() {
    const uint64_t start = reader_.offset();
    gptoss_tensor tensor = {};
    const std::string name = read_name(reader_, tensor.name);
    const auto data_type = reader_.value<uint32_t>("data type");
    if (element_bytes(data_type) == 0) {
        reader_.reject(start + entry_field::kDataType, "expected a data type from 0 to ",
                       static_cast<int>(gptoss_data_type_q8_scales), " of the tensor '", name, "', found ", data_type,
                       ": the file is damaged or was written for a newer version of this program");
    }
    tensor.data_type = static_cast<gptoss_data_type>(data_type);
    tensor.num_dims = reader_.integer("number of dimensions", 1, kMaxDims);
    uint64_t num_bytes = element_bytes(data_type);
    for (uint32_t dim = 0; dim < kMaxDims; dim++) {
        const auto size = reader_.value<uint64_t>("shape");
        const bool used = dim < tensor.num_dims;
        // A tensor lies in the file, so that none of the products exceeds the file's size.
        if (used ? size == 0 || size > reader_.size() / num_bytes : size != 0) {
            reader_.reject(start + entry_field::kShape + 8 * dim, "expected size ", dim, " of the tensor '", name,
                           used ? "' from 1 up to what the file holds" : "', which it does not have, to be 0",
                           ", found ", size);
        }
        tensor.shape[dim] = size;
        num_bytes *= used ? size : 1;
    }
    tensor.offset = reader_.value<uint64_t>("offset");
    tensor.num_bytes = reader_.value<uint64_t>("size");
    if (tensor.num_bytes != num_bytes) {
        reader_.reject(start + entry_field::kNumBytes, "expected ", num_bytes, " bytes of the tensor '", name,
                       "' with the shape ", format_shape(shape_of(tensor)), ", found ", tensor.num_bytes);
    }
    if (tensor.offset > reader_.size() || tensor.num_bytes > reader_.size() - tensor.offset) {
        reader_.reject(start + entry_field::kOffset, "expected the ", tensor.num_bytes, " bytes of the tensor '", name,
                       "' inside the file of ", reader_.size(), " bytes, found them at ", tensor.offset);
    }
    reader_.value<uint32_t>("checksum"); // of the tensor's bytes, which `gptoss inspect --verify` looks at
    if (const auto reserved = reader_.value<uint32_t>("reserved field"); reserved != 0) {
        reader_.reject(start + entry_field::kReserved, "expected 0 behind the checksum of the tensor '", name,
                       "', found ", reserved);
    }
    return tensor;
}

TensorPlace TableLayout::take(const std::string& name,
                              gptoss_data_type data_type,
                              std::span<const uint64_t> shape,
                              uint64_t alignment) {
    const auto found = index_of_.find(name);
    if (found == index_of_.end()) {
        reader_.reject(entries_offset_, "expected a tensor '", name, "' in the table, found none of that name");
    }
    const uint64_t entry = offset_of(found->second);
    const gptoss_tensor& tensor = tensors_[found->second];
    if (tensor.data_type != data_type) {
        reader_.reject(entry + entry_field::kDataType, "expected the data type ", static_cast<int>(data_type),
                       " of the tensor '", name, "', found ", static_cast<int>(tensor.data_type));
    }
    if (!std::ranges::equal(shape_of(tensor), shape)) {
        reader_.reject(entry + entry_field::kShape, "expected the shape ", format_shape(shape), " of the tensor '",
                       name, "', found ", format_shape(shape_of(tensor)));
    }
    if (tensor.offset % alignment != 0) {
        reader_.reject(entry + entry_field::kOffset, "expected the tensor '", name, "' on a multiple of ", alignment,
                       ", found the offset ", tensor.offset);
    }
    index_of_.erase(found);
    return {tensor.offset, tensor.num_bytes};
}

TensorPlace TableLayout::bf16(const std::string& name, std::initializer_list<uint64_t> shape, Packing) {
    return take(name, gptoss_data_type_bf16, {shape.begin(), shape.size()}, kTensorAlignment);
}

DensePlace TableLayout::dense(const std::string& name, uint64_t num_outputs, uint64_t num_inputs) {
    const uint64_t shape[] = {num_outputs, num_inputs};
    if (has(name + ".weight")) {
        return bf16_matrix(take(name + ".weight", gptoss_data_type_bf16, shape, kTensorAlignment));
    }
    const uint64_t scales_shape[] = {num_outputs, num_inputs / kQ8BlockSize};
    return {gptoss_data_type_q8_codes, take(name + ".weight.codes", gptoss_data_type_q8_codes, shape, kTensorAlignment),
            take(name + ".weight.scales", gptoss_data_type_q8_scales, scales_shape, kTensorAlignment)};
}

uint64_t TableLayout::experts(uint32_t block, const ExpertPlaces& expert) {
    uint64_t base = 0;
    for (uint32_t index = 0; index < config_.num_experts; index++) {
        for (const gptoss_tensor& tensor : describe_expert(config_, expert, block, index, index * expert.stride)) {
            const auto found = index_of_.find(tensor.name);
            const size_t entry = found == index_of_.end() ? 0 : found->second;
            const bool is_first = index == 0 && base == 0;
            const TensorPlace place = take(tensor.name, tensor.data_type, shape_of(tensor),
                                           is_first ? kSectionAlignment : kExpertItemAlignment);
            if (is_first) {
                base = place.offset;
            }
            if (place.offset != base + tensor.offset) {
                reader_.reject(offset_of(entry) + entry_field::kOffset, "expected the tensor '", tensor.name, "' at ",
                               base + tensor.offset, ", where the block's experts have it, found the offset ",
                               place.offset);
            }
        }
    }
    return base;
}

std::vector<gptoss_tensor> TableLayout::finish() {
    if (!index_of_.empty()) {
        // The first of them in the file.
        const auto unknown = std::ranges::min_element(index_of_, {}, [](const auto& entry) { return entry.second; });
        reader_.reject(offset_of(unknown->second), "expected no other tensors than this version knows, found '",
                       unknown->first, "': the file was written for a newer version of this program");
    }
    return std::move(tensors_);
}

} // namespace gptoss
