#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "millrace/engine/base/byte_range.h"
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

namespace {

// Nothing if it is no number; more than kBytesMax if it is one, and too large.
std::optional<uint64_t> ReadIoNumber(std::string_view text) {
  constexpr uint64_t kTooLarge = UINT64_MAX;
  const std::string digits(text);
  if (digits.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(digits[0]))) {
    return std::nullopt;
  }
  char* end = nullptr;
  const bool is_hex = absl::StartsWithIgnoreCase(digits, "0x");
  // The largest there is, if the text says more.
  const uint64_t number = std::strtoull(digits.c_str(), &end, is_hex ? 16 : 10);
  constexpr std::string_view kSuffixes = "bkmgtpe";
  if (*end == '\0') return number;
  double fraction = 0;
  if (*end == '.' && !is_hex) {
    // Its digits only: strtod() would take an exponent too, and there is none.
    const auto dot = static_cast<size_t>(end - digits.c_str());
    const size_t after = std::min(digits.find_first_not_of("0123456789", dot + 1), digits.size());
    if (after > dot + 1) fraction = std::strtod(digits.substr(dot, after - dot).c_str(), nullptr);
    end += after - dot;
  }
  const size_t suffix =
      kSuffixes.find(static_cast<char>(absl::ascii_tolower(static_cast<unsigned char>(*end))));
  if (suffix == std::string_view::npos || end[1] != '\0') return std::nullopt;
  const int shift = 10 * static_cast<int>(suffix);
  if (number > kBytesMax >> shift) return kTooLarge;
  return (number << shift) + static_cast<uint64_t>(std::ldexp(fraction, shift));
}

}  // namespace

std::optional<uint64_t> ParseIoNumber(std::string_view text) {
  const std::optional<uint64_t> number = ReadIoNumber(text);
  return number && *number <= kBytesMax ? number : std::nullopt;
}

std::string NoNumber(std::string_view word) {
  if (ReadIoNumber(word)) {
    return StrCat("Parsing error: argument too large -- ", word, "\n");
  }
  return StrCat("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ", word,
                "\n");
}

std::optional<std::string> CheckWordCount(const std::vector<std::string>& words) {
  constexpr size_t kAny = SIZE_MAX;
  struct Count {
    std::string_view name;
    size_t least;
    size_t most;
  };
  constexpr Count kCounts[] = {
      {"read", 2, kAny},      {"write", 2, kAny},   {"readv", 2, kAny},     {"writev", 2, kAny},
      {"aio_read", 2, kAny},  {"discard", 2, kAny}, {"aio_write", 2, kAny}, {"alloc", 1, 2},
      {"truncate", 1, 3},     {"t", 1, 3},          {"length", 0, 0},       {"l", 0, 0},
      {"info", 0, 0},         {"i", 0, 0},          {"map", 0, 0},          {"flush", 0, 0},
      {"aio_flush", 0, 0},    {"sleep", 1, 1},      {"break", 2, 2},        {"wait_break", 1, 1},
      {"remove_break", 1, 1}, {"resume", 1, 1}};
  const size_t given = words.size() - 1;
  for (const Count& count : kCounts) {
    if (count.name != words[0] || (given >= count.least && given <= count.most)) continue;
    const std::string expected = count.most == kAny ? StrCat("at least ", count.least)
                                 : count.most == count.least
                                     ? StrCat(count.least)
                                     : StrCat("between ", count.least, " and ", count.most);
    return StrCat("bad argument count ", given, " to ", words[0], ", expected ", expected,
                  " arguments\n");
  }
  return std::nullopt;
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

std::string_view UsageOf(std::string_view name) {
  if (name == "read") {
    return "read [-abCqv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a "
           "specified offset\n";
  }
  if (name == "write") {
    return "write [-bcCfnquz] [-P pattern | -s source_file] off len -- writes a number of bytes at "
           "a specified offset\n";
  }
  if (name == "aio_read") {
    return "aio_read [-Ciqv] [-P pattern] off len [len..] -- asynchronously reads a number of "
           "bytes\n";
  }
  if (name == "aio_write") {
    return "aio_write [-Cfiquz] [-P pattern] off len [len..] -- asynchronously writes a number of "
           "bytes\n";
  }
  if (name == "readv") {
    return "readv [-Cqv] [-P pattern] off len [len..] -- reads a number of bytes at a specified "
           "offset\n";
  }
  if (name == "writev") {
    return "writev [-Cfq] [-P pattern] off len [len..] -- writes a number of bytes at a specified "
           "offset\n";
  }
  return "discard [-Cq] off len -- discards a number of bytes at a specified offset\n";
}

class RequestParser {
 public:
  RequestParser(const std::vector<std::string>& words, QemuIoRequest* request)
      : words_(words), request_(*request) {}

  std::optional<QemuIoMistake> Parse() {
    request_.name = words_[0];
    if (auto mistake = CheckWordCount(words_)) return QemuIoMistake{{}, *mistake};
    std::vector<std::string> numbers;
    for (at_ = 1; at_ < words_.size(); ++at_) {
      if (words_[at_].size() > 1 && words_[at_][0] == '-') {
        if (!TakeFlags()) return mistake_;
      } else {
        numbers.push_back(words_[at_]);
      }
    }
    if (auto mistake = CheckTogether()) return mistake;
    return TakeNumbers(numbers);
  }

 private:
  static std::optional<QemuIoMistake> Mistake(std::string text) {
    return QemuIoMistake{std::move(text)};
  }
  QemuIoMistake WrongFlag(std::string_view what, char flag) const {
    return {std::string(UsageOf(request_.name)),
            StrCat(request_.name, ": ", what, " -- '", std::string_view(&flag, 1), "'\n")};
  }

  // The value of a flag: the rest of its word, or the next word.
  std::optional<std::string> Value(const std::string& word, size_t flag) {
    if (flag + 1 < word.size()) return word.substr(flag + 1);
    if (at_ + 1 < words_.size()) return words_[++at_];
    mistake_ = WrongFlag("option requires an argument", word[flag]);
    return std::nullopt;
  }

  bool TakePattern(const std::string& value) {
    const std::optional<uint64_t> pattern = ParseIoNumber(value);
    if (!pattern || *pattern > 255) {
      mistake_ = {StrCat(value, " is not a valid pattern byte\n")};
      return false;
    }
    request_.pattern = static_cast<uint8_t>(*pattern);
    return true;
  }

  bool TakeNumberFlag(char flag, const std::string& value) {
    const std::optional<uint64_t> number = ParseIoNumber(value);
    if (!number) {
      mistake_ = {NoNumber(value)};
      return false;
    }
    has_part_ = true;
    if (flag == 's') {
      request_.compared_offset = *number;
    } else {
      request_.compared_bytes = *number;
    }
    return true;
  }

  bool* PlainFlag(char flag) {
    const bool is_read = request_.is_read();
    switch (flag) {
      case 'q':
        return &request_.is_quiet;
      case 'C':
        return &request_.is_condensed;
      case 'b':
        return &request_.is_vm_state;
      case 'v':
        return is_read ? &request_.is_verbose : nullptr;
      case 'i':
        return request_.is_asynchronous() ? &request_.is_invalid : nullptr;
      case 'z':
        return is_read ? nullptr : &request_.writes_zeroes;
      case 'u':
        return is_read ? nullptr : &request_.may_unmap;
      case 'n':
        return is_read ? nullptr : &request_.no_fallback;
      case 'f':
        return is_read ? nullptr : &request_.force_unit_access;
      case 'c':
        return is_read ? nullptr : &request_.is_compressed;
      default:
        return nullptr;
    }
  }

  // A flag that has a value; it ends its word.
  bool TakeValueFlag(const std::string& word, size_t flag) {
    const std::optional<std::string> value = Value(word, flag);
    if (!value) return false;
    if (word[flag] == 'P') return TakePattern(*value);
    if (word[flag] == 'l' || request_.is_read()) return TakeNumberFlag(word[flag], *value);
    request_.pattern_file = *value;
    return true;
  }

  bool TakeFlags() {
    const std::string word = words_[at_];
    for (size_t i = 1; i < word.size(); ++i) {
      if (word[i] == 'P' || word[i] == 's' || word[i] == 'l') return TakeValueFlag(word, i);
      // Once a way to say "aligned", and "by pread"; both mean nothing any more.
      if (word[i] == 'a' || word[i] == 'p') continue;
      bool* flag = PlainFlag(word[i]);
      if (flag == nullptr) {
        mistake_ = WrongFlag("invalid option", word[i]);
        return false;
      }
      *flag = true;
    }
    return true;
  }

  std::optional<QemuIoMistake> CheckTogether() const {
    const int kinds = (request_.pattern ? 1 : 0) + (request_.writes_zeroes ? 1 : 0) +
                      (request_.pattern_file.empty() ? 0 : 1);
    if (request_.is_vm_state && request_.writes_zeroes) {
      return Mistake("-b and -z cannot be specified at the same time\n");
    }
    if (request_.no_fallback && !request_.writes_zeroes) {
      return Mistake("-n requires -z to be specified\n");
    }
    if (request_.may_unmap && !request_.writes_zeroes) {
      return Mistake("-u requires -z to be specified\n");
    }
    if (has_part_ && !request_.pattern) return Mistake(std::string(UsageOf(request_.name)));
    if (!request_.is_read() && kinds > 1) {
      return Mistake("Only one of -z, -P, and -s can be specified at the same time\n");
    }
    return std::nullopt;
  }

  bool is_vector() const {
    return request_.is_asynchronous() || request_.name == "readv" || request_.name == "writev";
  }

  // The length that a word tells is beyond what a request may have.
  std::optional<QemuIoMistake> TooLong(const std::string& word) const {
    if (is_vector() && !request_.writes_zeroes) {
      return Mistake(StrCat("Argument '", word, "' exceeds maximum size ", kMost, "\n"));
    }
    return Mistake(StrCat("length cannot exceed ", kMost,
                          request_.name == "write" ? " without -n" : "", ", given ", word, "\n"));
  }

  std::optional<QemuIoMistake> TakeLengths(const std::vector<std::string>& numbers) {
    request_.bytes = 0;
    for (size_t i = 1; i < numbers.size(); ++i) {
      const std::optional<uint64_t> bytes = ParseIoNumber(numbers[i]);
      if (!bytes) return Mistake(NoNumber(numbers[i]));
      if (*bytes > kMost && !request_.no_fallback) return TooLong(numbers[i]);
      if (is_vector() && request_.bytes > kMost - *bytes) {
        return Mistake(StrCat("The total number of bytes exceed the maximum size ", kMost, "\n"));
      }
      request_.bytes += *bytes;
    }
    return std::nullopt;
  }

  // An offset and a length; several lengths for vectors.
  std::optional<QemuIoMistake> TakeNumbers(const std::vector<std::string>& numbers) {
    if (numbers.size() < 2 || (!is_vector() && numbers.size() > 2)) {
      return Mistake(std::string(UsageOf(request_.name)));
    }
    const std::optional<uint64_t> offset = ParseIoNumber(numbers[0]);
    if (!offset) return Mistake(NoNumber(numbers[0]));
    request_.offset = *offset;
    if (request_.writes_zeroes && numbers.size() > 2) {
      return Mistake("-z supports only a single length parameter\n");
    }
    if (auto mistake = TakeLengths(numbers)) return mistake;
    const uint64_t compared = request_.compared_bytes.value_or(0);
    if (request_.is_read() && (request_.compared_offset > request_.bytes ||
                               compared > request_.bytes - request_.compared_offset)) {
      return Mistake("pattern verification range exceeds end of read data\n");
    }
    return std::nullopt;
  }

  static constexpr uint64_t kMost = (uint64_t{1} << 31) - 512;

  const std::vector<std::string>& words_;
  QemuIoRequest& request_;
  size_t at_ = 0;
  bool has_part_ = false;  // -s or -l of a read
  QemuIoMistake mistake_;
};

}  // namespace

std::optional<QemuIoMistake> ParseIoRequest(const std::vector<std::string>& words,
                                            QemuIoRequest* request) {
  return RequestParser(words, request).Parse();
}

}  // namespace millrace
