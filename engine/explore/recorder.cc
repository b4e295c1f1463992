#include "millrace/engine/explore/recorder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kTextAlignment = 16;

size_t Padded(size_t bytes) {
  return (bytes + kTextAlignment - 1) / kTextAlignment * kTextAlignment;
}

RecordedOption Split(uint64_t actor, const std::string& label) {
  // Names hold no '\n'; see Recorder::LabelOf.
  const size_t end = label.find('\n');
  if (end == std::string::npos) return {actor, label, ""};
  return {actor, label.substr(0, end), label.substr(end + 1)};
}

}  // namespace

// ---- Writing -----------------------------------------------------------------------------------

void Recorder::Append(const Record& record, std::string_view text) {
  if (is_full_) return;
  // Room is kept for the record that says that there is no more.
  const size_t bytes = sizeof(record) + Padded(text.size());
  if (bytes + sizeof(record) > bytes_.size() - used_) {
    is_full_ = true;
    const Record full{Type::kFull, 0, 0, 0, 0};
    std::memcpy(bytes_.data() + used_, &full, sizeof(full));
    return;
  }
  std::copy(text.begin(), text.end(),
            bytes_.begin() + static_cast<ptrdiff_t>(used_ + sizeof(record)));
  std::memcpy(bytes_.data() + used_, &record, sizeof(record));
  used_ += bytes;
}

uint32_t Recorder::LabelOf(std::string_view text) {
  const auto [found, is_new] = labels_.try_emplace(std::string(text), labels_.size());
  if (is_new) {
    Append({Type::kLabel, 0, 0, static_cast<uint32_t>(text.size()), found->second}, text);
  }
  return found->second;
}

uint32_t Recorder::LabelOf(const Option& option) {
  return LabelOf(StrCat(option.name, "\n", option.detail));
}

void Recorder::OnChoice(uint64_t ordinal, ChoiceKind kind, absl::Span<const Option> options,
                        size_t taken) {
  const auto count = static_cast<uint32_t>(options.size());
  // The options' labels come first, so that a choice and its options are contiguous.
  for (const Option& each : options) LabelOf(each);
  Append({Type::kChoice, static_cast<uint8_t>(kind), static_cast<uint16_t>(taken), count, ordinal});
  for (const Option& each : options) Append({Type::kOption, 0, 0, LabelOf(each), each.actor});
}

void Recorder::OnStep(const Option& step, int64_t now_ns) {
  const uint32_t label = LabelOf(step);
  Append({Type::kStep, 0, 0, label, static_cast<uint64_t>(now_ns)});
  Append({Type::kOption, 0, 0, label, step.actor});
}

void Recorder::OnNote(std::string_view kind, std::string_view object, std::string_view text) {
  const uint32_t kind_label = LabelOf(kind);
  const uint64_t object_label = LabelOf(object);
  const uint64_t text_label = LabelOf(text);
  Append({Type::kNote, 0, 0, kind_label, object_label << 32 | text_label});
}

void Recorder::OnEnd() { Append({Type::kEnd, 0, 0, 0, 0}); }

// ---- Reading -----------------------------------------------------------------------------------

Recording Recorder::Read(absl::Span<const char> bytes) {
  Recording recording;
  std::vector<std::string> labels;
  std::optional<size_t> last_step_choice;
  std::vector<RecordedOption>* options_of_choice = nullptr;
  size_t options_left = 0;
  auto current_step = [&] { return recording.steps.empty() ? 0 : recording.steps.size() - 1; };
  // A choice of which the options are missing tells nothing.
  auto end = [&](bool is_cut_off) {
    if (options_left > 0) recording.choices.pop_back();
    recording.is_cut_off = is_cut_off;
    return std::move(recording);
  };
  for (size_t at = 0; at + sizeof(Record) <= bytes.size();) {
    Record record;
    std::memcpy(&record, bytes.data() + at, sizeof(record));
    at += sizeof(record);
    switch (record.type) {
      case Type::kNone:
        return end(true);
      case Type::kFull:
        recording.is_full = true;
        return end(true);
      case Type::kEnd:
        return end(false);
      case Type::kLabel:
        labels.emplace_back(bytes.data() + at, record.label);
        at += Padded(record.label);
        break;
      case Type::kChoice: {
        const bool is_step = static_cast<ChoiceKind>(record.kind) == ChoiceKind::kStep;
        if (is_step) last_step_choice = recording.choices.size();
        recording.choices.push_back({record.value,
                                     static_cast<ChoiceKind>(record.kind),
                                     {},
                                     record.number,
                                     is_step ? recording.steps.size() : current_step()});
        options_of_choice = &recording.choices.back().options;
        options_left = record.label;
        break;
      }
      case Type::kOption:
        if (options_left > 0) {
          options_of_choice->push_back(Split(record.value, labels[record.label]));
          --options_left;
        } else {
          recording.steps.back().party.actor = record.value;
        }
        break;
      case Type::kStep:
        recording.steps.push_back({static_cast<int64_t>(record.value),
                                   Split(0, labels[record.label]),
                                   std::exchange(last_step_choice, std::nullopt)});
        break;
      case Type::kNote:
        recording.notes.push_back({current_step(), labels[record.label], labels[record.value >> 32],
                                   labels[record.value & UINT32_MAX]});
        break;
    }
  }
  return end(true);
}

Decision RecordedChoice::ToDecision() const {
  const RecordedOption& option = options[taken];
  Decision decision{ordinal, kind, 0, StrCat(option.name, "@", option.detail)};
  for (size_t i = 0; i < taken; ++i) {
    if (options[i].name == option.name && options[i].detail == option.detail) {
      ++decision.equals_before;
    }
  }
  return decision;
}

Schedule Recording::ToSchedule() const {
  Schedule schedule;
  for (const RecordedChoice& choice : choices) {
    if (choice.is_deviation()) schedule.deviations.push_back(choice.ToDecision());
  }
  return schedule;
}

}  // namespace millrace
