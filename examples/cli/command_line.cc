#include "examples/cli/command_line.h"

#include <algorithm>
#include <utility>

#include "examples/common/sizes.h"
#include "millrace/engine/base/text.h"

namespace millrace {

CommandLine::CommandLine(std::string_view command, std::string_view usage, std::string_view text)
    : command_(command), usage_(usage), text_(text) {}

void CommandLine::Flag(std::string_view name, bool* target, std::string_view help) {
  entries_.push_back({std::string(name), "", std::string(help), target});
}

void CommandLine::Option(std::string_view name, std::string_view placeholder, std::string* target,
                         std::string_view help) {
  entries_.push_back({std::string(name), std::string(placeholder), std::string(help), target});
}

void CommandLine::Option(std::string_view name, std::string_view placeholder, uint64_t* target,
                         std::string_view help) {
  entries_.push_back({std::string(name), std::string(placeholder), std::string(help), target});
}

void CommandLine::Choice(std::string_view name, std::string_view placeholder, std::string* target,
                         std::vector<std::string_view> values, std::string_view help) {
  Option(name, placeholder, target, help);
  entries_.back().values = std::move(values);
}

void CommandLine::Refuse(std::string_view name, std::string_view why) {
  entries_.push_back({std::string(name), "", "", std::monostate()});
  entries_.back().refusal = why;
}

bool CommandLine::Has(std::string_view name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.name == name && entry.was_given; });
}

absl::Status CommandLine::RefuseAny(std::vector<std::string_view> names,
                                    std::string_view why) const {
  std::string given;
  size_t count = 0;
  for (const std::string_view name : names) {
    if (!Has(name)) continue;
    StrAppend(&given, given.empty() ? "'--" : ", '--", name, "'");
    ++count;
  }
  if (count == 0) return absl::OkStatus();
  return Wrong(StrCat(given, count == 1 ? " has" : " have", " no effect ", why));
}

void CommandLine::Argument(std::string_view name, std::string* target, bool is_optional) {
  arguments_.push_back({std::string(name), target, is_optional});
}

void CommandLine::Group(std::string_view headline) {
  entries_.push_back({"", "", std::string(headline), std::monostate()});
}

absl::Status CommandLine::Wrong(std::string_view what) const {
  return absl::InvalidArgumentError(StrCat(what, "; see 'millrace ", command_, " --help'"));
}

absl::Status CommandLine::CheckChoice(const Entry& entry, std::string_view value) const {
  const std::vector<std::string_view>& values = entry.values;
  if (values.empty() || std::find(values.begin(), values.end(), value) != values.end()) {
    return absl::OkStatus();
  }
  std::string allowed(values[0]);
  for (size_t i = 1; i < values.size(); ++i) {
    StrAppend(&allowed, i + 1 < values.size() ? ", " : " or ", values[i]);
  }
  return Wrong(StrCat("'--", entry.name, " ", value, "' is unknown; use ", allowed));
}

absl::Status CommandLine::ParseOption(std::string_view word, absl::Span<const std::string>* rest) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(2, equals == word.npos ? word.npos : equals - 2);
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return !name.empty() && e.name == name; });
  if (entry == entries_.end()) return Wrong(StrCat("there is no option '--", name, "'"));
  if (!entry->refusal.empty()) {
    return Wrong(StrCat("'--", name, "' has no effect on ", command_, ": ", entry->refusal,
                        "; leave it out"));
  }
  entry->was_given = true;
  if (bool** flag = std::get_if<bool*>(&entry->target)) {
    if (equals != word.npos) return Wrong(StrCat("'--", name, "' takes no value"));
    **flag = true;
    return absl::OkStatus();
  }
  std::string value;
  if (equals != word.npos) {
    value = word.substr(equals + 1);
  } else if (!rest->empty()) {
    value = rest->front();
    rest->remove_prefix(1);
  } else {
    return Wrong(StrCat("'--", name, "' needs a value (", entry->placeholder, ")"));
  }
  if (std::string** text = std::get_if<std::string*>(&entry->target)) {
    **text = value;
    return CheckChoice(*entry, value);
  }
  absl::StatusOr<uint64_t> bytes = ParseBytes(value);
  if (!bytes.ok()) return Wrong(StrCat("'--", name, "': ", FromAbsl(bytes.status().message())));
  *std::get<uint64_t*>(entry->target) = *bytes;
  return absl::OkStatus();
}

absl::Status CommandLine::Parse(absl::Span<const std::string> words) {
  if (std::find_if(words.begin(), words.end(), [](const std::string& word) {
        return word == "--help" || word == "-h" || word == "--";
      }) != words.end()) {
    const auto end = std::find(words.begin(), words.end(), "--");
    wants_help_ = std::find(words.begin(), end, "--help") != end ||
                  std::find(words.begin(), end, "-h") != end;
    if (wants_help_) return absl::OkStatus();
  }
  size_t argument = 0;
  bool are_options_over = false;
  while (!words.empty()) {
    const std::string word = words.front();
    words.remove_prefix(1);
    if (!are_options_over && word == "--") {
      are_options_over = true;
    } else if (!are_options_over && word.size() > 2 && word.starts_with("--")) {
      if (absl::Status status = ParseOption(word, &words); !status.ok()) return status;
    } else if (!are_options_over && word.size() > 1 && word[0] == '-') {
      return Wrong(StrCat("options are spelled out, as in '--format': '", word, "' is none"));
    } else if (argument == arguments_.size()) {
      return Wrong(StrCat("'", word, "' is one argument too many"));
    } else {
      *arguments_[argument++].target = word;
    }
  }
  if (argument < arguments_.size() && !arguments_[argument].is_optional) {
    return Wrong(StrCat(arguments_[argument].name, " is missing"));
  }
  return absl::OkStatus();
}

std::string CommandLine::Help() const {
  constexpr size_t kColumn = 30;
  std::string help = StrCat("usage: millrace ", usage_, "\n\n", text_, "\n");
  bool has_headline = false;
  for (const Entry& entry : entries_) {
    if (!entry.refusal.empty()) continue;
    if (entry.name.empty() || !has_headline) {
      StrAppend(&help, "\n", entry.name.empty() ? std::string_view(entry.help) : "Options", ":\n");
      has_headline = true;
      if (entry.name.empty()) continue;
    }
    std::string line = StrCat("  --", entry.name);
    if (!entry.placeholder.empty()) StrAppend(&line, " ", entry.placeholder);
    line.append(line.size() < kColumn ? kColumn - line.size() : 1, ' ');
    for (const char c : entry.help) {
      line += c;
      if (c == '\n') line.append(kColumn, ' ');
    }
    StrAppend(&help, line, "\n");
  }
  return help;
}

}  // namespace millrace
