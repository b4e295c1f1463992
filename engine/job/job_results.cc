#include "millrace/engine/job/job_results.h"

#include <utility>

namespace millrace {

void JobResults::Remember(JobNumber number, std::string_view id, absl::Status status) {
  Result result{number, std::string(id), std::move(status)};
  if (results_.size() < kKept) {
    results_.push_back(std::move(result));
  } else {
    results_[next_] = std::move(result);
  }
  next_ = (next_ + 1) % kKept;
}

template <typename IsWanted>
const absl::Status* JobResults::FindLatest(IsWanted is_wanted) const {
  for (size_t age = 1; age <= results_.size(); ++age) {
    const Result& result = results_[(next_ + kKept - age) % kKept];
    if (is_wanted(result)) return &result.status;
  }
  return nullptr;
}

const absl::Status* JobResults::Find(JobNumber number) const {
  return FindLatest([number](const Result& result) { return result.number == number; });
}

const absl::Status* JobResults::Find(std::string_view id) const {
  return FindLatest([id](const Result& result) { return !id.empty() && result.id == id; });
}

}  // namespace millrace
