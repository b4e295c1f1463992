#include "millrace/engine/scheduler/decider.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

std::string Label(const Option& option) { return StrCat(option.name, "@", option.detail); }

}  // namespace

std::string_view ChoiceKindName(ChoiceKind kind) {
  switch (kind) {
    case ChoiceKind::kStep:
      return "step";
    case ChoiceKind::kOutcome:
      return "outcome";
    case ChoiceKind::kWake:
      return "wake";
    case ChoiceKind::kCrash:
      return "crash";
    case ChoiceKind::kFault:
      return "fault";
    case ChoiceKind::kData:
      return "data";
  }
  return "unknown";
}

RandomStream::RandomStream(uint64_t seed, std::string_view stream_name) : state_(seed) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : stream_name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  state_ ^= hash;
  Next();
}

uint64_t RandomStream::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

RandomDecider::RandomDecider(uint64_t seed, Faults faults)
    : schedule_(seed, "schedule"), faults_stream_(seed, "faults"), faults_(faults) {}

size_t RandomDecider::Choose(ChoiceKind kind, size_t count) {
  uint32_t one_in = 0;
  switch (kind) {
    case ChoiceKind::kStep:
    case ChoiceKind::kWake:
    case ChoiceKind::kData:
      return schedule_.Below(count);
    case ChoiceKind::kOutcome:
      one_in = faults_.outcome_one_in;
      break;
    case ChoiceKind::kFault:
      one_in = faults_.fault_one_in;
      break;
    case ChoiceKind::kCrash:
      one_in = faults_.crash_one_in;
      break;
  }
  if (one_in == 0 || !faults_stream_.OneIn(one_in)) return 0;
  return 1 + faults_stream_.Below(count - 1);
}

size_t RandomDecider::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  const size_t taken = Choose(kind, options.size());
  if (taken != 0) {
    decisions_.push_back({ordinal_, kind, static_cast<uint32_t>(taken),
                          static_cast<uint32_t>(options.size()), Label(options[taken])});
  }
  ++ordinal_;
  return taken;
}

size_t ReplayDecider::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  const uint64_t ordinal = ordinal_++;
  if (!status_.ok() || next_ == decisions_.size() || decisions_[next_].ordinal != ordinal) {
    return 0;
  }
  const Decision& wanted = decisions_[next_++];
  if (wanted.kind == kind) {
    // The label decides; the index only breaks ties between equal labels.
    if (wanted.taken < options.size() && Label(options[wanted.taken]) == wanted.label) {
      return wanted.taken;
    }
    for (size_t i = 0; i < options.size(); ++i) {
      if (Label(options[i]) == wanted.label) return i;
    }
  }
  status_ = absl::FailedPreconditionError(
      StrCat("schedule is stale at step ", ordinal, ": expected ", ChoiceKindName(wanted.kind),
             " '", wanted.label, "' among the options of a ", ChoiceKindName(kind),
             " choice; record the schedule again"));
  return 0;
}

}  // namespace millrace
