// The words of the job core: a job's state, and the verbs users apply to it.
//
//   created -> running <-> paused
//                 |
//                 +--> ready <-> standby
//                 |      |
//                 +------+--> waiting -> pending -> concluded -> null
//
// Created, running, ready, waiting and pending may become aborting, which becomes concluded; a job
// that is never started goes from created to null. Every step is told (EngineObserver::OnJobEvent).
//
// Wire names are QEMU's. What may follow what, and which verb is accepted where, is said once, in
// job_tables.h; a verb that is refused changes nothing. Plain values; any thread.
#ifndef MILLRACE_ENGINE_JOB_JOB_STATE_H_
#define MILLRACE_ENGINE_JOB_JOB_STATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "millrace/engine/base/strong_int.h"

namespace millrace {

enum class JobState : uint8_t {
  kUndefined,  // being constructed; never seen from outside
  kCreated,    // exists, not started
  kRunning,    // works, or sleeps between pieces
  kPaused,     // parked at a pause point; nothing in flight
  kReady,      // works, and may be completed by the user at any time (mirror)
  kStandby,    // what kPaused is to kReady
  kWaiting,    // done with its work; waits for the other members of its transaction
  kPending,    // all members are done; waits for finalize, or is being finalized
  kAborting,   // failed or cancelled; being undone
  kConcluded,  // over; kept until it is dismissed
  kNull,       // gone
};
inline constexpr size_t kJobStates = 11;

enum class JobVerb : uint8_t {
  kCancel,    // ends it and undoes what it can; of a ready mirror, unless forced, ends it well
  kPause,     // by the user; the job comes to rest at its next pause point
  kResume,    // takes back the user's pause; a drain still holds the job
  kSetSpeed,  // bytes a second
  kComplete,  // of a ready job: now make the switch
  kFinalize,  // of a pending job that does not finalize by itself
  kDismiss,   // of a concluded job that does not go by itself
  kChange,    // of options, if the body takes any
};
inline constexpr size_t kJobVerbs = 8;

inline constexpr std::array<std::string_view, kJobStates> kJobStateNames = {
    "undefined", "created", "running",  "paused",    "ready", "standby",
    "waiting",   "pending", "aborting", "concluded", "null"};
inline constexpr std::array<std::string_view, kJobVerbs> kJobVerbNames = {
    "cancel", "pause", "resume", "set-speed", "complete", "finalize", "dismiss", "change"};

constexpr std::string_view JobStateName(JobState state) {
  return kJobStateNames[static_cast<size_t>(state)];
}
constexpr std::string_view JobVerbName(JobVerb verb) {
  return kJobVerbNames[static_cast<size_t>(verb)];
}

// A job's number: unique in its manager for ever, given in order of creation. Unlike an id it is
// never reused, so it may be kept and used late; the job it names may be gone.
struct JobNumberTag;
using JobNumber = StrongInt<JobNumberTag, uint64_t>;

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_STATE_H_
