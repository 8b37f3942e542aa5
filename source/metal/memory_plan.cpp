#include "memory_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "../backend.h"
#include "../errors.h"
#include "kv_storage.h"
#include "token_stream.h"
#include "workspace.h"

namespace gptoss::metal {

namespace {

// A model that has no room for so many tokens is refused: a shorter context is of little use.
constexpr size_t kLeastUsefulContext = 4096;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

size_t batch_rows(size_t context_length, size_t max_batch_tokens) {
    return std::min(max_batch_tokens == 0 ? kDefaultMaxBatchTokens : max_batch_tokens, context_length);
}

enum class Rounding { nearest, up, down };

// "12.8 GiB", in units that leave a number to read. Where what is needed is compared with what is there, the one is
// rounded up and the other down, lest the smaller one reads as the larger.
std::string format_bytes(uint64_t num_bytes, Rounding rounding) {
    const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(num_bytes) / 1024;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < std::size(units)) {
        value /= 1024;
        unit++;
    }
    if (rounding != Rounding::nearest) {
        value = (rounding == Rounding::up ? std::ceil(value * 10) : std::floor(value * 10)) / 10;
    }
    char text[32];
    std::snprintf(text, sizeof(text), "%.1f %s", value, units[unit]);
    return text;
}

std::string enumeration(const std::vector<std::string>& parts, const char* last) {
    std::string text;
    for (size_t i = 0; i < parts.size(); i++) {
        text += (i == 0 ? "" : i + 1 == parts.size() ? last : ", ") + parts[i];
    }
    return text;
}

} // namespace

uint64_t wired_limit_mb(const DeviceInfo& device, uint64_t num_bytes) {
    if (!device.operating_system.starts_with("macOS")) {
        return 0;
    }
    // In steps that people would choose; the system and other programs keep an eighth, and 2 GiB at least.
    const uint64_t limit = (num_bytes + 512 * kMiB - 1) / (512 * kMiB) * (512 * kMiB);
    const uint64_t for_others = std::max(2 * kGiB, device.physical_bytes / 8);
    return limit + for_others <= device.physical_bytes ? limit / kMiB : 0;
}

namespace {

std::string room(const DeviceInfo& device) {
    return device.name + " has " + format_bytes(device.recommended_bytes, Rounding::down) + " for that, of " +
           format_bytes(device.physical_bytes, Rounding::down) + " in all.";
}

} // namespace

std::string MemoryPlan::enumerate_remedies(std::vector<std::string> remedies,
                                           const DeviceInfo& device,
                                           uint64_t needed) const {
    if (saved_by_q8_ != 0) {
        remedies.push_back("dense weights in 8 bits (`gptoss requantize MODEL --dense q8`: " +
                           format_bytes(saved_by_q8_, Rounding::down) + " less)");
    }
    remedies.push_back("a smaller model file");
    if (const uint64_t limit = wired_limit_mb(device, needed); limit != 0) {
        remedies.push_back("`sudo sysctl iogpu.wired_limit_mb=" + std::to_string(limit) +
                           "` (until the next restart of the Mac)");
    }
    remedies.push_back("the backend 'cpu'");
    return enumeration(remedies, ", or ");
}

uint64_t MemoryPlan::workspace_bytes(size_t max_batch_tokens) const {
    const size_t num_rows = batch_rows(config_.context_length, max_batch_tokens);
    return Workspace::bytes_for(config_, num_rows, 1) + MetalTokenStream::bytes_for(config_);
}

uint64_t MemoryPlan::kv_bytes(size_t context_length, size_t max_batch_tokens) const {
    return MetalKvStorage::bytes_for(config_, context_length, context_length,
                                     batch_rows(context_length, max_batch_tokens));
}

uint64_t MemoryPlan::total_beside(const MemoryInUse& in_use, size_t context_length, size_t max_batch_tokens) const {
    const uint64_t workspace = workspace_bytes(batch_rows(context_length, max_batch_tokens));
    return weight_bytes_ + std::max(in_use.workspace + MetalTokenStream::bytes_for(config_), workspace) +
           in_use.caches + kv_bytes(context_length, max_batch_tokens);
}

bool MemoryPlan::fits(const DeviceInfo& device,
                      const MemoryInUse& in_use,
                      size_t context_length,
                      size_t max_batch_tokens) const {
    return device.recommended_bytes == 0 ||
           total_beside(in_use, context_length, max_batch_tokens) <= device.recommended_bytes;
}

size_t MemoryPlan::longest_context(const DeviceInfo& device, const MemoryInUse& in_use, size_t max_batch_tokens) const {
    // A longer context never needs less, so halving finds the last one that fits.
    size_t longest = 0;
    size_t limit = config_.context_length;
    while (longest < limit) {
        const size_t middle = longest + (limit - longest + 1) / 2;
        if (fits(device, in_use, middle, max_batch_tokens)) {
            longest = middle;
        } else {
            limit = middle - 1;
        }
    }
    return longest;
}

gptoss_memory_estimate MemoryPlan::estimate(const DeviceInfo& device,
                                            size_t context_length,
                                            size_t max_batch_tokens) const {
    const size_t least = std::min<size_t>(kLeastUsefulContext, config_.context_length);
    const bool takes_model = fits(device, {}, least, 0);
    if (context_length == 0 && takes_model) {
        context_length = longest_context(device, {}, max_batch_tokens);
    }
    if (context_length == 0) {
        context_length = least;
    }
    gptoss_memory_estimate estimate = {};
    estimate.backend = gptoss_backend_metal;
    estimate.context_length = context_length;
    estimate.weights = weight_bytes_;
    estimate.workspace = workspace_bytes(batch_rows(context_length, max_batch_tokens));
    estimate.kv_cache = kv_bytes(context_length, max_batch_tokens);
    estimate.total = total_beside({}, context_length, max_batch_tokens);
    estimate.limit = device.recommended_bytes;
    if (!fits(device, {}, context_length, max_batch_tokens)) {
        const std::string advice =
            takes_model ? context_sentence(device, {}, context_length, max_batch_tokens) : model_sentence(device);
        std::snprintf(estimate.advice, sizeof(estimate.advice), "%s", advice.c_str());
    }
    return estimate;
}

void MemoryPlan::check_model(const DeviceInfo& device) const {
    const size_t context_length = std::min<size_t>(kLeastUsefulContext, config_.context_length);
    if (!fits(device, {}, context_length, 0)) {
        throw Error(gptoss_status_insufficient_resources, model_sentence(device));
    }
}

void MemoryPlan::check_context(const DeviceInfo& device,
                               const MemoryInUse& in_use,
                               size_t context_length,
                               size_t max_batch_tokens) const {
    if (!fits(device, in_use, context_length, max_batch_tokens)) {
        throw Error(gptoss_status_insufficient_resources,
                    context_sentence(device, in_use, context_length, max_batch_tokens));
    }
}

void MemoryPlan::check_growth(const DeviceInfo& device, const MemoryInUse& in_use, uint64_t more) const {
    const uint64_t held = weight_bytes_ + in_use.workspace + in_use.caches;
    if (device.recommended_bytes == 0 || held + more <= device.recommended_bytes) {
        return;
    }
    const auto up = [](uint64_t num_bytes) { return format_bytes(num_bytes, Rounding::up); };
    fail(gptoss_status_insufficient_resources, "The keys and values of a context need ", up(more),
         " more of GPU memory, where the model and its contexts hold ", up(held), ". ", room(device),
         " What helps: ", enumerate_remedies({"fewer contexts", "a shorter context_length"}, device, held + more), ".");
}

// Shorter contexts are no remedy: a model that is refused has none.
std::string MemoryPlan::model_sentence(const DeviceInfo& device) const {
    const size_t context_length = std::min<size_t>(kLeastUsefulContext, config_.context_length);
    return sentence("The model with a context of no more than " + std::to_string(context_length) + " tokens", {},
                    device, {}, context_length, 0);
}

std::string MemoryPlan::context_sentence(const DeviceInfo& device,
                                         const MemoryInUse& in_use,
                                         size_t context_length,
                                         size_t max_batch_tokens) const {
    std::vector<std::string> remedies;
    if (const size_t longest = longest_context(device, in_use, max_batch_tokens); longest != 0) {
        remedies.push_back("a context_length of at most " + std::to_string(longest));
    }
    if (in_use.caches != 0) {
        remedies.push_back("fewer contexts");
    }
    return sentence("A context of " + std::to_string(context_length) + " tokens", std::move(remedies), device, in_use,
                    context_length, max_batch_tokens);
}

std::string MemoryPlan::sentence(const std::string& subject,
                                 std::vector<std::string> remedies,
                                 const DeviceInfo& device,
                                 const MemoryInUse& in_use,
                                 size_t context_length,
                                 size_t max_batch_tokens) const {
    const auto size = [](uint64_t num_bytes) { return format_bytes(num_bytes, Rounding::nearest); };
    const size_t num_rows = batch_rows(context_length, max_batch_tokens);
    const uint64_t needed = total_beside(in_use, context_length, max_batch_tokens);
    const uint64_t kv_cache = kv_bytes(context_length, max_batch_tokens);
    std::vector<std::string> parts = {size(weight_bytes_) + " of weights",
                                      size(needed - weight_bytes_ - kv_cache - in_use.caches) + " to work on " +
                                          std::to_string(num_rows) + " tokens at once",
                                      size(kv_cache) + " of keys and values"};
    if (in_use.caches != 0) {
        parts.push_back(size(in_use.caches) + " that other contexts hold");
    }
    return subject + " needs " + format_bytes(needed, Rounding::up) + " of GPU memory: " + enumeration(parts, " and ") +
           ". " + room(device) + " What helps: " + enumerate_remedies(std::move(remedies), device, needed) + ".";
}

} // namespace gptoss::metal
