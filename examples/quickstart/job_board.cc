#include "examples/quickstart/job_board.h"

#include <algorithm>

namespace millrace {

ProgressEntry* JobBoard::Find(const std::string& id, const std::string& type) {
  if (type != "stream" && type != "commit") return nullptr;
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const ProgressEntry& entry) { return entry.name == id; });
  if (found != entries_.end()) return &*found;
  entries_.push_back({id, "created", 0, 0});
  return &entries_.back();
}

void JobBoard::Refresh(const JobManager& jobs) {
  for (const JobInfo& info : jobs.QueryAll()) {
    ProgressEntry* entry = Find(info.id, info.type);
    if (entry == nullptr) continue;
    entry->phase = JobStateName(info.state);
    entry->done_bytes = info.current;
    entry->total_bytes = info.total;
  }
}

void JobBoard::OnJobEvent(const JobEvent& event) {
  for (Witness* witness : witnesses_) witness->OnJobEvent(event);
  ProgressEntry* entry = Find(event.id, event.type);
  if (entry == nullptr) return;
  switch (event.kind) {
    case JobEventKind::kCompleted:
    case JobEventKind::kCancelled:
      entry->phase = event.status.ok() ? "done" : "failed";
      entry->done_bytes = event.current;
      entry->total_bytes = event.total;
      return;
    case JobEventKind::kStatusChange:
      // What follows the end of a job is of no interest to a reader.
      if (entry->phase != "done" && entry->phase != "failed") {
        entry->phase = JobStateName(event.state);
      }
      return;
    default:
      return;
  }
}

void JobBoard::OnLog(LogLevel level, std::string_view line) {
  if (level != LogLevel::kInfo) warnings_.emplace_back(line);
}

}  // namespace millrace
