#include "millrace/graph/driver_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/io/open_gate.h"

namespace millrace {
namespace {

// Nothing if it is no size.
std::optional<uint64_t> ParseSize(std::string_view text) {
  constexpr std::string_view kSuffixes = "KMGTPE";
  int shift = 0;
  if (!text.empty()) {
    const size_t suffix = kSuffixes.find(text.back());
    if (suffix != std::string_view::npos) {
      shift = 10 * (static_cast<int>(suffix) + 1);
      text.remove_suffix(1);
    }
  }
  const bool is_decimal = !text.empty() && std::all_of(text.begin(), text.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
  uint64_t value = 0;
  if (!is_decimal || !absl::SimpleAtoi(ToAbsl(text), &value)) return std::nullopt;
  if (value > kBytesMax >> shift) return std::nullopt;
  return value << shift;
}

}  // namespace

absl::Status DriverRegistry::Register(std::string name, Factory factory, NodeKind kind) {
  const auto place = factories_.find(name);
  if (place == factories_.end()) {
    factories_.insert({std::move(name), Entry{std::move(factory), kind}});
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(
      StrCat("register driver '", place->first, "': there is one of that name; choose another"));
}

absl::StatusOr<std::unique_ptr<Driver>> DriverRegistry::Make(std::string_view name,
                                                             const DriverOptions& options) const {
  const auto found = factories_.find(std::string(name));
  if (found != factories_.end()) {
    absl::StatusOr<std::unique_ptr<Driver>> driver = found->second.factory(options);
    if (!driver.ok()) return driver;
    MILLRACE_CHECK(*driver != nullptr, StrCat("the factory of driver '", name, "' makes nothing"));
    const bool is_filter = (*driver)->kind() == NodeKind::kFilter;
    MILLRACE_CHECK(is_filter == (found->second.kind == NodeKind::kFilter),
                   StrCat("driver '", name, "' was registered as ",
                          is_filter ? "another kind, and its factory makes a filter"
                                    : "a filter, and its factory makes another kind"));
    return driver;
  }
  Conflict conflict;
  conflict.reason = ConflictReason::kUnknownFormat;
  conflict.object = PrintableName(name);
  conflict.next_step = "use one of the drivers that there are";
  return ConflictStatus(
      absl::StatusCode::kNotFound, conflict,
      StrCat("no driver '", conflict.object, "'; there are: ", absl::StrJoin(names(), ", ")));
}

absl::StatusOr<std::unique_ptr<FilterDriver>> DriverRegistry::MakeFilter(
    std::string_view name, const DriverOptions& options) const {
  const std::optional<NodeKind> kind = KindOf(name);
  if (kind && *kind != NodeKind::kFilter) {
    return ConflictStatus(
        absl::StatusCode::kInvalidArgument,
        {.reason = ConflictReason::kNotFilter,
         .object = std::string(name),
         .next_step = "name a filter, as throttle or copy-on-read"},
        StrCat("driver '", name, "' is not a filter; name a filter, as throttle or copy-on-read"));
  }
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Driver> driver, Make(name, options));
  // Make() has checked the kind.
  return std::unique_ptr<FilterDriver>(static_cast<FilterDriver*>(driver.release()));
}

std::optional<NodeKind> DriverRegistry::KindOf(std::string_view name) const {
  const auto found = factories_.find(std::string(name));
  if (found == factories_.end()) return std::nullopt;
  return found->second.kind;
}

std::vector<std::string> DriverRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& entry : factories_) names.push_back(entry.first);
  return names;
}

const std::string* DriverOptionReader::Find(std::string_view name) {
  asked_.emplace_back(name);
  const auto found = options_.find(std::string(name));
  return found == options_.end() ? nullptr : &found->second;
}

absl::Status DriverOptionReader::Bad(std::string_view name,
                                     std::string_view what_is_expected) const {
  const auto found = options_.find(std::string(name));
  return absl::InvalidArgumentError(
      StrCat("option '", name, "' of driver '", driver_, "' is '",
             found == options_.end() ? std::string() : PrintableName(found->second), "', not ",
             what_is_expected));
}

absl::Status DriverOptionReader::Read(std::string_view name, std::string* value) {
  if (const std::string* text = Find(name)) *value = *text;
  return absl::OkStatus();
}

absl::Status DriverOptionReader::Read(std::string_view name, bool* value) {
  const std::string* text = Find(name);
  if (text == nullptr) return absl::OkStatus();
  if (*text != "on" && *text != "off" && *text != "true" && *text != "false") {
    return Bad(name, "on or off");
  }
  *value = *text == "on" || *text == "true";
  return absl::OkStatus();
}

absl::Status DriverOptionReader::Read(std::string_view name, std::optional<uint64_t>* value) {
  const std::string* text = Find(name);
  if (text == nullptr) return absl::OkStatus();
  *value = ParseSize(*text);
  if (!value->has_value()) return Bad(name, "a number below 2^63, perhaps with K, M, G, T, P or E");
  return absl::OkStatus();
}

absl::Status DriverOptionReader::Read(std::string_view name, uint64_t* value) {
  std::optional<uint64_t> number;
  MILLRACE_RETURN_IF_ERROR(Read(name, &number));
  if (number.has_value()) *value = *number;
  return absl::OkStatus();
}

absl::Status DriverOptionReader::Require(std::string_view name, std::string* value) {
  MILLRACE_RETURN_IF_ERROR(Read(name, value));
  if (options_.contains(std::string(name))) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("driver '", driver_, "' needs option '", name, "'"));
}

absl::Status DriverOptionReader::Finish() const {
  for (const auto& option : options_) {
    if (std::find(asked_.begin(), asked_.end(), option.first) != asked_.end()) continue;
    return absl::InvalidArgumentError(StrCat("driver '", driver_, "' has no option '",
                                             PrintableName(option.first),
                                             "'; it has: ", absl::StrJoin(asked_, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace millrace
