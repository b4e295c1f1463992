// JobWitness: follows every job of an engine by its events and holds them to the protocol that
// clients rely on (O9): from created to null along the table of job states (J1), ready told once
// and right after the state, one word of the end and right before concluded, after it nothing but
// null, progress within its bounds, and no words of a job that is not there.
//
//   JobWitness witness([&](std::string text) { run.Fail("O9 job events", std::move(text)); });
//   Engine& engine = run.NewEngine(nullptr, &witness);
//   ...                                       // all jobs end
//   witness.OnAllOver();
//
// Outlives the engine. `report` is called where the event that does not fit is told.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_WITNESS_H_
#define MILLRACE_TESTS_SUPPORT_JOB_WITNESS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/observer.h"

namespace millrace {

class JobWitness final : public EngineObserver {
 public:
  using Report = std::function<void(std::string text)>;
  explicit JobWitness(Report report) : report_(std::move(report)) {}

  void OnJobEvent(const JobEvent& event) override;
  // By now every job is gone.
  void OnAllOver();
  // How those that have run have ended, in the order of their starts.
  struct End {
    std::string id;
    absl::Status status;
  };
  std::vector<End> ends() const;
  // Whether one ended with an error other than that it was cancelled.
  bool has_failed_job() const { return has_failed_job_; }
  // Whether one did not end well, cancelled ones included, or did not even run.
  bool has_undone_job() const { return has_undone_job_; }

 private:
  struct Job {
    std::string id;
    std::string type;
    JobState state = JobState::kUndefined;
    // Told right before; none at first.
    std::optional<JobEventKind> latest;
    uint64_t current = 0;
    bool is_ready_told = false;
    bool has_run = false;
    bool has_ended = false;  // the word of its end was told
    absl::Status end{};
  };

  // What does not fit in the event; empty if it does.
  std::string_view Judge(const Job& job, const JobEvent& event) const;
  std::string_view JudgeState(const Job& job, JobState to) const;
  std::string_view JudgeEnd(const Job& job, const JobEvent& event) const;

  const Report report_;
  std::map<uint64_t, Job> jobs_;  // by number
  bool has_failed_job_ = false;
  bool has_undone_job_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_WITNESS_H_
