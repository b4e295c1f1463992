// Recording: everything that one run did, step by step, for people and for pages that show it.
//
// A step is what happens between two suspensions: a coroutine runs from one yield point to its
// next, an I/O completes, a timer fires. Between steps there are choices; within steps things are
// noted (by the graph, by jobs, by a scenario's oracles). Plain data; any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_RECORDING_H_
#define MILLRACE_ENGINE_EXPLORE_RECORDING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/schedule.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

struct RecordedOption {
  uint64_t actor = 0;  // coroutine id, or I/O ordinal + 2^32; 0 for timers and for what is no party
  std::string name;    // "stream0/copy"
  std::string detail;  // yield point or outcome
};

struct RecordedChoice {
  uint64_t ordinal = 0;  // number of the choice; what a Schedule counts
  ChoiceKind kind = ChoiceKind::kStep;
  std::vector<RecordedOption> options;
  size_t taken = 0;  // 0 is what production does
  size_t step = 0;   // index of the step it led to (kStep), or in which it was made
  bool is_deviation() const { return taken != 0; }
  // What was taken, as a Schedule writes it down.
  Decision ToDecision() const;
};

struct RecordedStep {
  int64_t time_ns = 0;  // virtual
  // Who runs, and where it goes on from. Where it suspends next is the `detail` of its next step.
  RecordedOption party;
  std::optional<size_t> choice;  // index into choices; absent if there was only this to do
};

struct RecordedNote {
  size_t step = 0;   // index of the step in which it was made; 0 also for what comes before it
  std::string kind;  // "graph", "drain", "failure", ...
  std::string object;
  std::string text;
};

struct Recording {
  std::string scenario;
  std::vector<RecordedStep> steps;
  std::vector<RecordedChoice> choices;
  std::vector<RecordedNote> notes;
  Failure failure;  // empty if the run went well
  // The run ended in a crash or was abandoned: what it did last may be missing.
  bool is_cut_off = false;
  // It was cut off because there was no more room; the run went on.
  bool is_full = false;

  Schedule ToSchedule() const;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_RECORDING_H_
