#include "millrace/engine/explore/recording_lanes.h"

#include <cstdio>
#include <map>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr uint64_t kFirstIoActor = uint64_t{1} << 32;

bool IsCoroutine(const RecordedOption& party) {
  return party.actor != 0 && party.actor < kFirstIoActor;
}

std::map<uint64_t, size_t> LastStepsOf(const Recording& recording) {
  std::map<uint64_t, size_t> last;
  for (size_t i = 0; i < recording.steps.size(); ++i) last[recording.steps[i].party.actor] = i;
  return last;
}

class LaneAllocator {
 public:
  explicit LaneAllocator(const Recording& recording) : last_steps_(LastStepsOf(recording)) {}

  size_t LaneOf(const RecordedOption& party, size_t step) {
    if (!IsCoroutine(party)) return SharedLane(party.actor == 0 ? "timers" : "i/o");
    if (auto known = lane_of_actor_.find(party.actor); known != lane_of_actor_.end()) {
      return known->second;
    }
    const size_t lane = FreeLane(party.name, step);
    lane_of_actor_[party.actor] = lane;
    free_from_[lane] = last_steps_[party.actor] + 1;
    return lane;
  }
  std::vector<std::string> TakeNames() { return std::move(names_); }

 private:
  size_t Add(std::string name) {
    names_.push_back(std::move(name));
    free_from_.push_back(0);
    return names_.size() - 1;
  }
  size_t SharedLane(const std::string& name) {
    const auto [lane, is_new] = shared_.try_emplace(name, 0);
    if (is_new) lane->second = Add(name);
    return lane->second;
  }
  size_t FreeLane(const std::string& name, size_t step) {
    std::vector<size_t>& lanes = by_name_[name];
    for (size_t lane : lanes) {
      if (free_from_[lane] <= step) return lane;
    }
    lanes.push_back(Add(lanes.empty() ? name : StrCat(name, " #", lanes.size() + 1)));
    return lanes.back();
  }

  std::map<uint64_t, size_t> last_steps_;  // by actor
  std::map<uint64_t, size_t> lane_of_actor_;
  std::map<std::string, size_t> shared_;
  std::map<std::string, std::vector<size_t>> by_name_;
  std::vector<std::string> names_;
  std::vector<size_t> free_from_;  // step from which another coroutine may use the lane
};

std::string PartyAt(const RecordedOption& party) {
  return party.detail.empty() ? party.name : StrCat(party.name, " at ", party.detail);
}

}  // namespace

RecordingLanes RecordingLanes::Of(const Recording& recording) {
  LaneAllocator allocator(recording);
  RecordingLanes lanes;
  for (size_t i = 0; i < recording.steps.size(); ++i) {
    lanes.of_step.push_back(allocator.LaneOf(recording.steps[i].party, i));
  }
  lanes.names = allocator.TakeNames();
  return lanes;
}

std::string DescribeStep(const RecordedOption& party) {
  if (party.detail.empty()) return party.name;
  return IsCoroutine(party) ? party.detail : StrCat(party.name, ": ", party.detail);
}

std::string DescribeDeviation(const RecordedChoice& choice) {
  const RecordedOption& canonical = choice.options.front();
  const RecordedOption& taken = choice.options[choice.taken];
  if (choice.kind == ChoiceKind::kStep) {
    return StrCat("production would have run ", PartyAt(canonical), "; here ", PartyAt(taken),
                  " ran");
  }
  if (choice.kind == ChoiceKind::kWake) {
    return StrCat("production would have woken ", PartyAt(canonical), "; here ", PartyAt(taken),
                  " was woken");
  }
  return StrCat(std::string(ChoiceKindName(choice.kind)), ": production has '", canonical.detail,
                "' of ", canonical.name, "; here it is '", taken.detail, "'",
                taken.name == canonical.name ? "" : StrCat(" of ", taken.name));
}

std::string DescribeVirtualTime(int64_t time_ns) {
  char text[48];
  std::snprintf(text, sizeof(text), "%lld.%03lld ms", static_cast<long long>(time_ns / 1'000'000),
                static_cast<long long>(time_ns / 1'000 % 1'000));
  return text;
}

bool IsSnapshot(const RecordedNote& note) {
  return (note.kind == "graph" || note.kind == "jobs") && note.text.starts_with('{');
}

std::string_view PartyKindName(const RecordedOption& party) {
  if (IsCoroutine(party)) return "coroutine";
  return party.actor == 0 ? "timer" : "io";
}

size_t FailedStepOf(const Recording& recording) {
  for (const RecordedNote& note : recording.notes) {
    if (note.kind == "failure") return note.step;
  }
  const bool has_failed = !recording.failure.signature.empty() && !recording.steps.empty();
  return has_failed ? recording.steps.size() - 1 : 0;
}

}  // namespace millrace
