#include "millrace/graph/filters/fault_injection_config.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/io/open_gate.h"

namespace millrace {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string_view Unquote(std::string_view text) {
  const bool is_quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  return is_quoted ? text.substr(1, text.size() - 2) : text;
}

class ConfigParser {
 public:
  absl::StatusOr<FaultInjectionOptions> Parse(std::string_view text) {
    while (!text.empty()) {
      const size_t end = text.find('\n');
      ++line_number_;
      MILLRACE_RETURN_IF_ERROR(ParseLine(Trim(text.substr(0, end))));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    MILLRACE_RETURN_IF_ERROR(EndSection());
    return std::move(options_);
  }

 private:
  enum class Section : uint8_t { kNone, kInject, kSetState };

  absl::Status Bad(std::string_view what, std::string_view value, std::string_view why) const {
    return absl::InvalidArgumentError(StrCat("fault injection configuration, line ", line_number_,
                                             ": ", what, " '", PrintableName(value), "' ", why));
  }

  absl::Status ParseLine(std::string_view line) {
    if (line.empty() || line.front() == '#') return absl::OkStatus();
    if (line.front() == '[') return BeginSection(line);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return Bad("the text", line, "is neither [section] nor key = \"value\"");
    }
    const std::string_view key = Trim(line.substr(0, equals));
    const std::string_view value = Unquote(Trim(line.substr(equals + 1)));
    switch (section_) {
      case Section::kNone:
        break;
      case Section::kInject:
        return SetInject(key, value);
      case Section::kSetState:
        return SetSetState(key, value);
    }
    return Bad("the key", key, "stands before any [section]");
  }

  absl::Status BeginSection(std::string_view line) {
    MILLRACE_RETURN_IF_ERROR(EndSection());
    section_line_ = line_number_;
    if (line == "[inject-error]") {
      section_ = Section::kInject;
      options_.inject.emplace_back();
      return absl::OkStatus();
    }
    if (line == "[set-state]") {
      section_ = Section::kSetState;
      options_.set_state.emplace_back();
      return absl::OkStatus();
    }
    return Bad("the section", line, "is unknown; there are [inject-error] and [set-state]");
  }

  absl::Status EndSection() {
    const bool lacks_event =
        (section_ == Section::kInject && options_.inject.back().event.empty()) ||
        (section_ == Section::kSetState && options_.set_state.back().event.empty());
    if (!lacks_event) return absl::OkStatus();
    line_number_ = section_line_;
    return Bad("the section", section_ == Section::kInject ? "[inject-error]" : "[set-state]",
               "has no event");
  }

  absl::Status SetEvent(std::string_view value, std::string* event) {
    if (!IsFaultEvent(value)) return Bad("the event", value, "does not exist");
    *event = value;
    return absl::OkStatus();
  }

  template <typename Number>
  absl::Status SetNumber(std::string_view key, std::string_view value, uint64_t most,
                         Number* number) {
    uint64_t parsed = 0;
    if (!absl::SimpleAtoi(ToAbsl(value), &parsed) || parsed > most) {
      return Bad(key, value, StrCat("is no number from 0 to ", most));
    }
    *number = static_cast<Number>(parsed);
    return absl::OkStatus();
  }

  absl::Status SetFlag(std::string_view key, std::string_view value, bool* flag) {
    if (value != "on" && value != "off") return Bad(key, value, "is neither on nor off");
    *flag = value == "on";
    return absl::OkStatus();
  }

  absl::Status SetIoType(std::string_view value, uint8_t* types) {
    struct Name {
      std::string_view name;
      uint8_t type;
    };
    constexpr Name kNames[] = {
        {"read", kFaultRead},       {"write", kFaultWrite}, {"write-zeroes", kFaultWriteZeroes},
        {"discard", kFaultDiscard}, {"flush", kFaultFlush}, {"block-status", kFaultMap}};
    for (const Name& each : kNames) {
      if (each.name != value) continue;
      *types = each.type;
      return absl::OkStatus();
    }
    return Bad("iotype", value, "is not read, write, write-zeroes, discard, flush or block-status");
  }

  absl::Status SetInject(std::string_view key, std::string_view value) {
    constexpr uint64_t kErrnoMax = 4095;
    FaultInjectRule& rule = options_.inject.back();
    if (key == "event") return SetEvent(value, &rule.event);
    if (key == "state") return SetNumber(key, value, UINT32_MAX, &rule.state);
    if (key == "errno") return SetNumber(key, value, kErrnoMax, &rule.error_number);
    if (key == "once") return SetFlag(key, value, &rule.once);
    if (key == "immediately") return SetFlag(key, value, &rule.immediately);
    if (key == "iotype") return SetIoType(value, &rule.io_types);
    if (key != "sector") return Bad("the key", key, "is unknown in [inject-error]");
    if (value == "-1") {
      rule.sector.reset();
      return absl::OkStatus();
    }
    return SetNumber(key, value, kBytesMax, &rule.sector.emplace());
  }

  absl::Status SetSetState(std::string_view key, std::string_view value) {
    FaultSetStateRule& rule = options_.set_state.back();
    if (key == "event") return SetEvent(value, &rule.event);
    if (key == "state") return SetNumber(key, value, UINT32_MAX, &rule.state);
    if (key == "new_state") return SetNumber(key, value, UINT32_MAX, &rule.new_state);
    return Bad("the key", key, "is unknown in [set-state]");
  }

  FaultInjectionOptions options_;
  Section section_ = Section::kNone;
  int line_number_ = 0;
  int section_line_ = 0;
};

}  // namespace

absl::Status TakeFaultInjectionRules(DriverOptions& options, std::string* text) {
  constexpr std::string_view kSections[] = {"inject-error", "set-state"};
  for (const std::string_view section : kSections) {
    std::string open_index = "none";
    for (auto option = options.begin(); option != options.end();) {
      const std::string_view name = option->first;
      const size_t dot = name.find('.', section.size() + 1);
      const bool is_rule = name.substr(0, section.size()) == section &&
                           name.size() > section.size() && name[section.size()] == '.' &&
                           dot != std::string_view::npos;
      if (!is_rule) {
        ++option;
        continue;
      }
      if (option->second.find_first_of("\n\"") != std::string::npos) {
        return absl::InvalidArgumentError(
            StrCat("blkdebug: option '", name, "' has a line break or a quote"));
      }
      // Rules of one index are neighbours: the map is sorted.
      const std::string_view index = name.substr(section.size() + 1, dot - section.size() - 1);
      if (index != open_index) {
        open_index = std::string(index);
        StrAppend(text, "[", section, "]\n");
      }
      StrAppend(text, name.substr(dot + 1), " = \"", option->second, "\"\n");
      option = options.erase(option);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<FaultInjectionOptions> ParseFaultInjectionConfig(std::string_view text) {
  return ConfigParser().Parse(text);
}

}  // namespace millrace
