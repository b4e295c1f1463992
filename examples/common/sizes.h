// Byte counts in words: "1.5 GiB" for people, "10G" from people.
#ifndef MILLRACE_EXAMPLES_COMMON_SIZES_H_
#define MILLRACE_EXAMPLES_COMMON_SIZES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace millrace {

// "512 B", "64 KiB", "1.5 GiB": three digits at most, so not exact.
std::string BytesInWords(uint64_t bytes);

// "4096", "64K", "1.5G", "10GiB": powers of 1024. InvalidArgument if it is no size.
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);

// "45 s", "3 min 20 s".
std::string SecondsInWords(uint64_t seconds);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_SIZES_H_
