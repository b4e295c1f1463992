#include "millrace/engine/scheduler/decider.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {
namespace {

std::string Label(const Option& option) { return StrCat(option.name, "@", option.detail); }

bool HasSameLabel(const Option& a, const Option& b) {
  return a.name == b.name && a.detail == b.detail;
}

std::string Describe(const Decision& decision) {
  return StrCat("option '", decision.label, "' of ", ChoiceKindName(decision.kind), " choice ",
                decision.ordinal);
}

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
    case ChoiceKind::kBuggify:
      return "buggify";
    case ChoiceKind::kLatency:
      return "latency";
  }
  return "unknown";
}

bool Decider::TakesOddBranch(const ExplorationSite& site) {
  const Option options[] = {{0, site.name, "as ever"}, {0, site.name, "odd"}};
  return Pick(ChoiceKind::kBuggify, options) != 0;
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

RandomDecider::RandomDecider(uint64_t seed, Faults faults, Recording recording)
    : schedule_(seed, "schedule"),
      faults_stream_(seed, "faults"),
      data_(seed, "data"),
      faults_(faults),
      recording_(recording) {}

size_t RandomDecider::Choose(ChoiceKind kind, size_t count) {
  uint32_t one_in = 0;
  switch (kind) {
    case ChoiceKind::kStep:
    case ChoiceKind::kWake:
      return schedule_.Below(count);
    case ChoiceKind::kData:
      return data_.Below(count);
    case ChoiceKind::kOutcome:
      one_in = faults_.outcome_one_in;
      break;
    case ChoiceKind::kFault:
      one_in = faults_.fault_one_in;
      break;
    case ChoiceKind::kCrash:
      one_in = faults_.crash_one_in;
      break;
    case ChoiceKind::kBuggify:
      one_in = faults_.buggify_one_in;
      break;
    case ChoiceKind::kLatency:
      one_in = faults_.latency_one_in;
      break;
  }
  if (one_in == 0 || !faults_stream_.OneIn(one_in)) return 0;
  return 1 + faults_stream_.Below(count - 1);
}

size_t RandomDecider::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  const size_t taken = Choose(kind, options.size());
  if (taken != 0 && recording_ == Recording::kOn) {
    Decision decision{ordinal_, kind, 0, Label(options[taken])};
    for (const Option& option : options.first(taken)) {
      if (HasSameLabel(option, options[taken])) ++decision.equals_before;
    }
    decisions_.push_back(std::move(decision));
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
    uint32_t equals = 0;
    for (size_t i = 0; i < options.size(); ++i) {
      if (Label(options[i]) == wanted.label && equals++ == wanted.equals_before) return i;
    }
  }
  status_ = absl::FailedPreconditionError(
      StrCat("schedule is stale: ", Describe(wanted), " does not exist; choice ", ordinal, " is a ",
             ChoiceKindName(kind), " choice without it; record the schedule again"));
  return 0;
}

absl::Status ReplayDecider::Finish() const {
  if (!status_.ok() || next_ == decisions_.size()) return status_;
  return absl::FailedPreconditionError(
      StrCat("schedule is stale: the run ended after ", ordinal_, " choices and never came to ",
             Describe(decisions_[next_]), "; record the schedule again"));
}

}  // namespace millrace
