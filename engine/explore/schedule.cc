#include "millrace/engine/explore/schedule.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kKindLetters = "sowcfdbl";  // by ChoiceKind
static_assert(kKindLetters.size() == kChoiceKinds);

bool IsPlain(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_.@/-").find(c) != std::string_view::npos;
}

void AppendEscaped(std::string_view label, std::string* text) {
  constexpr char kHex[] = "0123456789abcdef";
  for (char c : label) {
    if (IsPlain(c)) {
      text->push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    text->push_back('%');
    text->push_back(kHex[byte >> 4]);
    text->push_back(kHex[byte & 15]);
  }
}

absl::Status BadText(std::string_view item, std::string_view why) {
  return absl::InvalidArgumentError(StrCat(
      "read schedule: '", item, "' ", why,
      "; a deviation looks like s12:stream0@drain.begin, and deviations are joined by commas"));
}

absl::StatusOr<std::string> Unescape(std::string_view item, std::string_view escaped) {
  std::string label;
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (escaped[i] != '%') {
      if (!IsPlain(escaped[i])) return BadText(item, "holds a character that should be escaped");
      label.push_back(escaped[i]);
      continue;
    }
    unsigned byte = 0;
    const char* first = escaped.data() + i + 1;
    if (i + 2 >= escaped.size() || std::from_chars(first, first + 2, byte, 16).ptr != first + 2) {
      return BadText(item, "has an incomplete %XX");
    }
    label.push_back(static_cast<char>(byte));
    i += 2;
  }
  return label;
}

// Parses all of `digits`.
template <typename Number>
bool ParseNumber(std::string_view digits, Number* number) {
  const char* end = digits.data() + digits.size();
  const auto [parsed, error] = std::from_chars(digits.data(), end, *number);
  return !digits.empty() && error == std::errc() && parsed == end;
}

absl::StatusOr<Hold> ParseHold(std::string_view item) {
  Hold hold;
  const size_t colon = item.find(':');
  const std::string_view numbers = item.substr(1, colon == std::string_view::npos ? 0 : colon - 1);
  const size_t dash = numbers.find('-');
  if (dash == std::string_view::npos || !ParseNumber(numbers.substr(0, dash), &hold.first) ||
      !ParseNumber(numbers.substr(dash + 1), &hold.last) || hold.last < hold.first) {
    return BadText(item, "does not number its first and last choice");
  }
  std::string_view party = item.substr(colon + 1);
  if (const size_t hash = party.find('#'); hash != std::string_view::npos) {
    if (!ParseNumber(party.substr(hash + 1), &hold.which.emplace())) {
      return BadText(item, "has no number after #");
    }
    party = party.substr(0, hash);
  }
  MILLRACE_ASSIGN_OR_RETURN(hold.party, Unescape(item, party));
  return hold;
}

absl::StatusOr<Decision> ParseDeviation(std::string_view item) {
  Decision decision;
  const size_t kind = item.empty() ? std::string_view::npos : kKindLetters.find(item[0]);
  if (kind == std::string_view::npos) return BadText(item, "does not begin with a kind of choice");
  decision.kind = static_cast<ChoiceKind>(kind);
  const size_t colon = item.find(':');
  if (colon == std::string_view::npos ||
      !ParseNumber(item.substr(1, colon - 1), &decision.ordinal)) {
    return BadText(item, "does not number its choice");
  }
  std::string_view label = item.substr(colon + 1);
  if (const size_t hash = label.find('#'); hash != std::string_view::npos) {
    if (!ParseNumber(label.substr(hash + 1), &decision.equals_before)) {
      return BadText(item, "has no number after #");
    }
    label = label.substr(0, hash);
  }
  MILLRACE_ASSIGN_OR_RETURN(decision.label, Unescape(item, label));
  return decision;
}

}  // namespace

std::string Schedule::ToText() const {
  if (size() == 0) return "-";
  std::string text;
  for (const Hold& each : holds) {
    StrAppend(&text, text.empty() ? "h" : ",h", each.first, "-", each.last, ":");
    AppendEscaped(each.party, &text);
    if (each.which) StrAppend(&text, "#", *each.which);
  }
  for (const Decision& each : deviations) {
    if (!text.empty()) text.push_back(',');
    text.push_back(kKindLetters[static_cast<size_t>(each.kind)]);
    StrAppend(&text, each.ordinal, ":");
    AppendEscaped(each.label, &text);
    if (each.equals_before > 0) StrAppend(&text, "#", each.equals_before);
  }
  return text;
}

absl::StatusOr<Schedule> Schedule::FromText(std::string_view text) {
  Schedule schedule;
  if (text == "-") return schedule;
  for (bool is_last = false; !is_last;) {
    const size_t comma = text.find(',');
    is_last = comma == std::string_view::npos;
    const std::string_view item = text.substr(0, comma);
    if (!is_last) text.remove_prefix(comma + 1);
    if (!item.empty() && item[0] == 'h') {
      if (!schedule.deviations.empty()) return BadText(item, "comes after a deviation");
      MILLRACE_ASSIGN_OR_RETURN(Hold hold, ParseHold(item));
      schedule.holds.push_back(std::move(hold));
      continue;
    }
    MILLRACE_ASSIGN_OR_RETURN(Decision decision, ParseDeviation(item));
    if (!schedule.deviations.empty() && schedule.deviations.back().ordinal >= decision.ordinal) {
      return BadText(item, "does not come after the one before it");
    }
    schedule.deviations.push_back(std::move(decision));
  }
  return schedule;
}

size_t HoldFollower::FirstNotHeld(uint64_t ordinal, absl::Span<const Option> options) {
  for (size_t i = 0; i < holds_->size(); ++i) {
    const Hold& hold = (*holds_)[i];
    if (!hold.which || hold.first != ordinal) continue;
    uint32_t before = 0;
    for (const Option& each : options) {
      if (each.name == hold.party && before++ == *hold.which) actors_[i] = each.actor;
    }
  }
  const auto holds = [&](size_t i, const Option& option) {
    const Hold& hold = (*holds_)[i];
    if (ordinal < hold.first || hold.last < ordinal || hold.party != option.name) return false;
    return !hold.which || actors_[i] == option.actor;
  };
  const auto is_held = [&](const Option& option) {
    for (size_t i = 0; i < holds_->size(); ++i) {
      if (holds(i, option)) return true;
    }
    return false;
  };
  const auto free = std::find_if_not(options.begin(), options.end(), is_held);
  for (size_t i = 0; i < holds_->size(); ++i) {
    if (has_held_[i]) continue;
    has_held_[i] = free != options.end() &&
                   std::any_of(options.begin(), free,
                               [&](const Option& passed_over) { return holds(i, passed_over); });
    const Hold& hold = (*holds_)[i];
    if (!has_held_[i] && hold.last <= ordinal && status_.ok()) status_ = Useless(hold);
  }
  return free == options.end() ? 0 : static_cast<size_t>(free - options.begin());
}

absl::Status HoldFollower::Useless(const Hold& hold) const {
  return absl::FailedPreconditionError(StrCat(
      "schedule is stale: from choice ", hold.first, " to ", hold.last, " nobody was called '",
      hold.party, "' whom another could have passed; record the schedule again"));
}

absl::Status HoldFollower::Finish() const {
  if (!status_.ok()) return status_;
  for (size_t i = 0; i < holds_->size(); ++i) {
    if (!has_held_[i]) return Useless((*holds_)[i]);
  }
  return absl::OkStatus();
}

bool operator==(const Schedule& a, const Schedule& b) {
  const bool same_holds = std::equal(a.holds.begin(), a.holds.end(), b.holds.begin(), b.holds.end(),
                                     [](const Hold& x, const Hold& y) {
                                       return x.first == y.first && x.last == y.last &&
                                              x.party == y.party && x.which == y.which;
                                     });
  return same_holds && std::equal(a.deviations.begin(), a.deviations.end(), b.deviations.begin(),
                                  b.deviations.end(), [](const Decision& x, const Decision& y) {
                                    return x.ordinal == y.ordinal && x.kind == y.kind &&
                                           x.equals_before == y.equals_before && x.label == y.label;
                                  });
}

}  // namespace millrace
