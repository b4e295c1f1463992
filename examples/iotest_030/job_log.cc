#include "examples/iotest_030/job_log.h"

namespace millrace {

void JobLog::OnJobEvent(const JobEvent& event) {
  events_.push_back(event);
  is_taken_.push_back(false);
  something_happened_.Notify();
}

JobEvent JobLog::CoTake(std::string_view id, absl::FunctionRef<bool(const JobEvent&)> is_wanted) {
  for (size_t i = 0;; ++i) {
    while (i == events_.size()) something_happened_.CoWait();
    if (is_taken_[i] || events_[i].id != id || !is_wanted(events_[i])) continue;
    is_taken_[i] = true;
    return events_[i];
  }
}

JobEvent JobLog::CoTakeState(std::string_view id, JobState state) {
  return CoTake(id, [&](const JobEvent& event) {
    return event.kind == JobEventKind::kStatusChange && event.state == state;
  });
}

JobEvent JobLog::CoTakeKind(std::string_view id, JobEventKind kind) {
  return CoTake(id, [&](const JobEvent& event) { return event.kind == kind; });
}

JobEvent JobLog::CoTakeEnd(std::string_view id) {
  return CoTake(id, [](const JobEvent& event) {
    return event.kind == JobEventKind::kCompleted || event.kind == JobEventKind::kCancelled;
  });
}

}  // namespace millrace
