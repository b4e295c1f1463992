#include "examples/common/sizes.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::array<std::string_view, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

absl::Status NoSize(std::string_view text) {
  return absl::InvalidArgumentError(
      StrCat("'", text,
             "' is not a size; write a number of bytes, or one with a unit as in 64K, "
             "512M or 1.5G (powers of 1024)"));
}

}  // namespace

std::string BytesInWords(uint64_t bytes) {
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool is_whole = value >= 100 || value == std::floor(value);
  snprintf(text, sizeof(text), is_whole ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value);
  return StrCat(text, " ", kUnits[unit]);
}

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  const std::string copy(text);
  if (copy.empty() || copy[0] < '0' || copy[0] > '9') return NoSize(text);
  char* rest = nullptr;
  const bool is_fraction = copy.find('.') != std::string::npos;
  const double fraction = std::strtod(copy.c_str(), &rest);
  char* integer_rest = nullptr;
  const uint64_t integer = std::strtoull(copy.c_str(), &integer_rest, 10);
  if (!is_fraction) rest = integer_rest;
  std::string_view unit(rest);
  uint64_t factor = 1;
  if (!unit.empty()) {
    const size_t power = std::string_view("BKMGTPE").find(
        static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
    if (power == std::string_view::npos) return NoSize(text);
    factor = uint64_t{1} << (10 * power);
    unit.remove_prefix(1);
    if (power > 0 && (unit == "B" || unit == "iB")) unit = "";
    if (!unit.empty()) return NoSize(text);
  }
  const double bytes = fraction * static_cast<double>(factor);
  if (bytes >= 9.2e18) {
    return absl::InvalidArgumentError(
        StrCat("'", text, "' is too large; at most 8 EiB are possible"));
  }
  return is_fraction ? static_cast<uint64_t>(bytes) : integer * factor;
}

std::string SecondsInWords(uint64_t seconds) {
  if (seconds < 60) return StrCat(seconds, " s");
  if (seconds < 3600) return StrCat(seconds / 60, " min ", seconds % 60, " s");
  return StrCat(seconds / 3600, " h ", seconds / 60 % 60, " min");
}

}  // namespace millrace
