#include "byte_pair_encoding.h"

#include <algorithm>
#include <functional>
#include <iomanip>
#include <queue>
#include <sstream>
#include <tuple>

#include "errors.h"

namespace gptoss {

namespace {

// Two neighbouring parts of a piece that are a token together: its bytes [start, middle) and [middle, end).
struct Merge {
    uint32_t rank;
    size_t start;
    size_t middle;
    size_t end;

    // The lowest rank comes first, then the leftmost place.
    bool operator>(const Merge& other) const { return std::tie(rank, start) > std::tie(other.rank, other.start); }
};

using MergeQueue = std::priority_queue<Merge, std::vector<Merge>, std::greater<>>;

[[noreturn]] void fail_without_token(unsigned char byte) {
    std::ostringstream hexadecimal;
    hexadecimal << "0x" << std::hex << std::setw(2) << std::setfill('0') << static_cast<unsigned>(byte);
    fail(gptoss_status_unsupported_argument, "The text has the byte ", hexadecimal.str(),
         " in UTF-8, for which this model's vocabulary has no token.");
}

} // namespace

BytePairEncoding::BytePairEncoding(const std::vector<std::string_view>& tokens) {
    ids_.reserve(tokens.size());
    for (uint32_t id = 0; id < tokens.size(); id++) {
        ids_.emplace(tokens[id], id);
        longest_token_ = std::max(longest_token_, tokens[id].size());
    }
}

uint32_t BytePairEncoding::find(std::string_view bytes) const {
    if (bytes.size() > longest_token_) {
        return kNoToken; // without hashing a text that may be long
    }
    const auto entry = ids_.find(bytes);
    return entry == ids_.end() ? kNoToken : entry->second;
}

void BytePairEncoding::encode(std::string_view piece, std::vector<uint32_t>& tokens) const {
    const uint32_t whole = find(piece);
    if (whole != kNoToken) {
        tokens.push_back(whole);
    } else {
        merge(piece, tokens);
    }
}

// Starts with a part for each byte, and joins the two neighbours whose token has the lowest rank until no neighbours
// are a token.
void BytePairEncoding::merge(std::string_view piece, std::vector<uint32_t>& tokens) const {
    // A linked list of the parts, by the offset at which each starts. A part that was joined to the one before it ends
    // at 0.
    std::vector<size_t> end_of_part(piece.size());
    std::vector<size_t> previous_part(piece.size());
    for (size_t i = 0; i < piece.size(); i++) {
        end_of_part[i] = i + 1;
        previous_part[i] = i - 1; // of the first part: never read
    }

    MergeQueue queue;
    const auto push_if_token = [&](size_t start) {
        const size_t middle = end_of_part[start];
        if (middle == piece.size()) {
            return;
        }
        const size_t end = end_of_part[middle];
        const uint32_t rank = find(piece.substr(start, end - start));
        if (rank != kNoToken) {
            queue.push({rank, start, middle, end});
        }
    };
    for (size_t i = 0; i + 1 < piece.size(); i++) {
        push_if_token(i);
    }

    while (!queue.empty()) {
        const auto [rank, start, middle, end] = queue.top();
        queue.pop();
        // Merges whose parts were joined to others since are still in the queue.
        if (end_of_part[start] != middle || end_of_part[middle] != end) {
            continue;
        }
        end_of_part[start] = end;
        end_of_part[middle] = 0;
        if (end != piece.size()) {
            previous_part[end] = start;
        }
        push_if_token(start);
        if (start != 0) {
            push_if_token(previous_part[start]);
        }
    }

    for (size_t start = 0; start < piece.size(); start = end_of_part[start]) {
        const uint32_t token = find(piece.substr(start, end_of_part[start] - start));
        if (token == kNoToken) {
            fail_without_token(static_cast<unsigned char>(piece[start]));
        }
        tokens.push_back(token);
    }
}

} // namespace gptoss
