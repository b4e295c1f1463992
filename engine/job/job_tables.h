// The job core's two tables, in their one home: which state may follow which, and which verb is
// accepted in which state (invariant J1). Code, documents and pictures are made from these.
//
// They are QEMU's. For clients who want to know beforehand what a job would take:
//
//   if (IsJobVerbAccepted(JobVerb::kPause, info.state)) …
//
// Constants; any thread.
#ifndef MILLRACE_ENGINE_JOB_JOB_TABLES_H_
#define MILLRACE_ENGINE_JOB_JOB_TABLES_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "millrace/engine/job/job_state.h"

namespace millrace {
namespace internal {

using JobStateSet = uint16_t;

template <typename... States>
constexpr JobStateSet JobStates(States... states) {
  return static_cast<JobStateSet>((JobStateSet{0} | ... | (1u << static_cast<unsigned>(states))));
}

// Row: from. A transition that is not listed is a bug of ours.
inline constexpr std::array<JobStateSet, kJobStates> kJobTransitions = {
    /* undefined */ JobStates(JobState::kCreated),
    /* created   */ JobStates(JobState::kRunning, JobState::kAborting, JobState::kNull),
    /* running   */
    JobStates(JobState::kPaused, JobState::kReady, JobState::kWaiting, JobState::kAborting),
    /* paused    */ JobStates(JobState::kRunning),
    /* ready     */ JobStates(JobState::kStandby, JobState::kWaiting, JobState::kAborting),
    /* standby   */ JobStates(JobState::kReady),
    /* waiting   */ JobStates(JobState::kPending, JobState::kAborting),
    /* pending   */ JobStates(JobState::kAborting, JobState::kConcluded),
    /* aborting  */ JobStates(JobState::kAborting, JobState::kConcluded),
    /* concluded */ JobStates(JobState::kNull),
    /* null      */ JobStates(),
};

inline constexpr JobStateSet kJobAtWork =
    JobStates(JobState::kCreated, JobState::kRunning, JobState::kPaused, JobState::kReady,
              JobState::kStandby);

// Row: verb. The states in which it is accepted.
inline constexpr std::array<JobStateSet, kJobVerbs> kJobVerbStates = {
    /* cancel    */ kJobAtWork | JobStates(JobState::kWaiting, JobState::kPending),
    /* pause     */ kJobAtWork,
    /* resume    */ kJobAtWork,
    /* set-speed */ kJobAtWork,
    /* complete  */ JobStates(JobState::kReady, JobState::kStandby),
    /* finalize  */ JobStates(JobState::kPending),
    /* dismiss   */ JobStates(JobState::kConcluded),
    /* change    */ kJobAtWork,
};

constexpr bool Contains(JobStateSet set, JobState state) {
  return ((set >> static_cast<unsigned>(state)) & 1u) != 0;
}

}  // namespace internal

// J1. Aborting may follow aborting; that one is silent.
constexpr bool IsJobTransition(JobState from, JobState to) {
  return internal::Contains(internal::kJobTransitions[static_cast<size_t>(from)], to);
}

// The table alone; a verb may have further conditions (see JobManager).
constexpr bool IsJobVerbAccepted(JobVerb verb, JobState state) {
  return internal::Contains(internal::kJobVerbStates[static_cast<size_t>(verb)], state);
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_TABLES_H_
