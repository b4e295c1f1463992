#include <array>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "millrace/engine/base/text.h"

namespace millrace {

std::vector<std::string> SplitWords(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool is_word = false;
  char quote = 0;
  for (char c : line) {
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      is_word = true;
    } else if (absl::ascii_isspace(static_cast<unsigned char>(c))) {
      if (is_word) words.push_back(std::move(word));
      word.clear();
      is_word = false;
    } else {
      word += c;
      is_word = true;
    }
  }
  if (is_word) words.push_back(std::move(word));
  return words;
}

std::optional<uint64_t> ParseIoNumber(std::string_view text) {
  const std::string digits(text);
  if (digits.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(digits[0]))) {
    return std::nullopt;
  }
  char* end = nullptr;
  const bool is_hex = absl::StartsWithIgnoreCase(digits, "0x");
  const uint64_t number = std::strtoull(digits.c_str(), &end, is_hex ? 16 : 10);
  constexpr std::string_view kSuffixes = "bkmgtpe";
  if (*end == '\0') return number;
  const size_t suffix =
      kSuffixes.find(static_cast<char>(absl::ascii_tolower(static_cast<unsigned char>(*end))));
  if (suffix == std::string_view::npos || end[1] != '\0') return std::nullopt;
  const int shift = 10 * static_cast<int>(suffix);
  if (number > (uint64_t{INT64_MAX} >> shift)) return std::nullopt;
  return number << shift;
}

std::string IoSizeText(double bytes) {
  constexpr std::array<const char*, 7> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  const std::string number = absl::StrFormat("%.3f", bytes);
  return StrCat(FromAbsl(absl::StripSuffix(number, ".000")), " ", kUnits[unit]);
}

namespace {

std::optional<std::string> TakeFlag(const std::vector<std::string>& words, size_t* at,
                                    QemuIoRequest* request) {
  const std::string& flag = words[*at];
  for (size_t i = 1; i < flag.size(); ++i) {
    switch (flag[i]) {
      case 'q':
        request->is_quiet = true;
        break;
      case 'z':
        request->writes_zeroes = true;
        break;
      case 'u':
        request->may_unmap = true;
        break;
      case 'f':
        request->force_unit_access = true;
        break;
      case 'v':
        request->is_verbose = true;
        break;
      case 'C':
      case 'p':
      case 'b':
      case 'n':
        break;
      case 'P': {
        std::string value = flag.substr(i + 1);
        if (value.empty() && *at + 1 < words.size()) value = words[++*at];
        const std::optional<uint64_t> pattern = ParseIoNumber(value);
        if (!pattern || *pattern > 255) return StrCat(value, " is not a valid pattern byte\n");
        request->pattern = static_cast<uint8_t>(*pattern);
        return std::nullopt;
      }
      default:
        return StrCat(request->name, ": invalid option -- '", std::string(1, flag[i]), "'\n");
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> ParseIoRequest(const std::vector<std::string>& words,
                                          QemuIoRequest* request) {
  request->name = words[0];
  std::vector<std::string> numbers;
  for (size_t at = 1; at < words.size(); ++at) {
    if (words[at].size() > 1 && words[at][0] == '-') {
      if (auto mistake = TakeFlag(words, &at, request)) return mistake;
    } else {
      numbers.push_back(words[at]);
    }
  }
  if (numbers.size() != 2) {
    return StrCat("bad argument count ", numbers.size(), " to ", request->name,
                  ", expected an offset and a length\n");
  }
  const std::optional<uint64_t> offset = ParseIoNumber(numbers[0]);
  const std::optional<uint64_t> bytes = ParseIoNumber(numbers[1]);
  if (!offset) return StrCat("Non-numeric offset argument -- ", numbers[0], "\n");
  if (!bytes) return StrCat("Non-numeric length argument -- ", numbers[1], "\n");
  if (*bytes > (uint64_t{1} << 31) - 512) {
    return StrCat("Length cannot exceed ", (uint64_t{1} << 31) - 512, " bytes\n");
  }
  request->offset = *offset;
  request->bytes = *bytes;
  return std::nullopt;
}

}  // namespace millrace
