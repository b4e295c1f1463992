#include "examples/quickstart/witness.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {

void Witness::OnJobEvent(const JobEvent& event) {
  const std::string prefix = StrCat(chain_, "-");
  if (!event.id.starts_with(prefix)) return;
  const std::string name = event.id.substr(prefix.size());
  const bool is_done = event.kind == JobEventKind::kCompleted && event.status.ok();
  if (event.type == "stream" || event.type == "commit") {
    if (event.kind == JobEventKind::kStatusChange) OnCopyJob(name, event.state);
  } else if (is_done && name.ends_with("-in")) {
    FilterStory& story = filters_[name.substr(0, name.rfind("-in"))];
    story.is_in = true;
    story.met_jobs = !at_work_.empty();
  } else if (is_done && name.ends_with("-out")) {
    filters_[name.substr(0, name.rfind("-out"))].is_out = true;
  }
  something_happened_.Notify();
}

void Witness::OnCopyJob(const std::string& name, JobState state) {
  switch (state) {
    case JobState::kRunning:
      if (at_work_.insert(name).second) gatherings_.push_back(at_work_);
      return;
    case JobState::kPaused:  // by a drain, for a moment
      return;
    default:
      at_work_.erase(name);
      return;
  }
}

void Witness::OnGuestRead() {
  if (!at_work_.empty()) ++reads_;
  something_happened_.Notify();
}

void Witness::OnGuestWrite() {
  if (!at_work_.empty()) ++writes_;
  something_happened_.Notify();
}

void Witness::OnGuestOver() {
  is_guest_over_ = true;
  something_happened_.Notify();
}

void Witness::CoAwaitGuest(uint64_t requests) {
  const uint64_t reads = reads_ + requests;
  const uint64_t writes = writes_ + requests;
  something_happened_.CoWaitUntil(
      [&] { return (reads_ >= reads && writes_ >= writes) || is_guest_over_ || at_work_.empty(); });
}

// ---- The verdict -------------------------------------------------------------------------------

absl::Status Witness::Verdict(const Demands& demands) const {
  const std::set<std::string> wanted(demands.jobs_at_once.begin(), demands.jobs_at_once.end());
  MILLRACE_RETURN_IF_ERROR(JudgeGatherings(wanted));
  for (const std::string& filter : demands.filters) MILLRACE_RETURN_IF_ERROR(JudgeFilter(filter));
  if (reads_ >= demands.reads && writes_ >= demands.writes) return absl::OkStatus();
  return Refusal(StrCat("the guest did only ", reads_, " reads and ", writes_,
                        " writes while jobs were at work; it should be ", demands.reads, " and ",
                        demands.writes));
}

absl::Status Witness::JudgeGatherings(const std::set<std::string>& wanted) const {
  const std::set<std::string> nobody;
  const std::set<std::string>* largest = &nobody;
  for (const std::set<std::string>& gathering : gatherings_) {
    if (std::includes(gathering.begin(), gathering.end(), wanted.begin(), wanted.end())) {
      return absl::OkStatus();
    }
    if (gathering.size() > largest->size()) largest = &gathering;
  }
  return Refusal(StrCat("these jobs were never all at work at once: ", absl::StrJoin(wanted, ", "),
                        "; most that were: ", absl::StrJoin(*largest, ", ")));
}

absl::Status Witness::JudgeFilter(const std::string& name) const {
  const auto found = filters_.find(name);
  const FilterStory story = found == filters_.end() ? FilterStory() : found->second;
  if (!story.is_in) return Refusal(StrCat("filter ", name, " was never inserted"));
  if (!story.met_jobs) {
    return Refusal(StrCat("filter ", name, " was inserted while no job was at work"));
  }
  if (!story.is_out) return Refusal(StrCat("filter ", name, " was not taken out again"));
  return absl::OkStatus();
}

absl::Status Witness::Refusal(std::string_view reason) const {
  return absl::FailedPreconditionError(
      StrCat("the run of chain ", chain_, " showed too little: ", reason));
}

}  // namespace millrace
