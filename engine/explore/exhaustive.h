// Exhaustive: every order that can make a difference, once: a proof for small scenarios.
//
// Two schedules that differ only in the order of independent steps behave alike, so one of them is
// enough. Dynamic partial order reduction finds, in each run, the pairs of dependent steps that
// could have come the other way round, and visits those orders later (source sets: Abdulla,
// Aronis, Jonsson, Sagonas, POPL 2014; after Flanagan and Godefroid, POPL 2005); sleep sets keep it
// from coming back to what it has seen. Steps depend on each other unless both have complete
// footprints that do not meet (footprint.h); a step without one depends on all others, so without
// footprints this is every interleaving.
//
// The engine, the graph and the jobs report what their steps touch (Scheduler::Touch), for
// strategies that sample. Dependence::kTouches takes those reports for the whole truth, also of
// steps that nobody made a promise for; a step that reported nothing still depends on all. That
// needs far fewer schedules, and is as good as the reports are: for a scenario it is to be held
// against Dependence::kEverything, which reorders all steps, as tests/scenarios/exploration does
// for the micro scenarios, by outcomes(). Nothing is reported of what coroutines do all the time
// (to spawn, sleep, submit, end, cancel and be cancelled: a step that did only that would pass for
// one of which all is known), nor of events, conditions and gates, which guard something that their
// user knows: who has parties meet in these alone reports it (TouchShared, FootprintScope).
//
// Choices within steps (wake orders, outcomes, data, where explored) are all taken. When BeginRun()
// says false, every behaviour of the scenario was seen. At most 64 options per choice.
#ifndef MILLRACE_ENGINE_EXPLORE_EXHAUSTIVE_H_
#define MILLRACE_ENGINE_EXPLORE_EXHAUSTIVE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "millrace/engine/explore/step_footprint.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace {

class Exhaustive final : public Strategy {
 public:
  enum class Dependence : uint8_t {
    kEverything,  // no step is independent of another: every interleaving
    kPromises,    // steps with complete footprints may be
    kTouches,     // and steps that reported anything
  };
  explicit Exhaustive(Dependence dependence = Dependence::kPromises) : dependence_(dependence) {}

  std::string_view name() const override { return "exhaustive"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  void EndRun(const RunSummary& summary) override;
  bool wants_steps() const override { return true; }
  void OnStep(const Option& step) override;
  void OnTouch(uint64_t object, StepAccess access) override;
  void OnStandingTouch(uint64_t object) override;
  void OnFootprint(bool is_complete) override;
  std::string Progress() const override;

  uint64_t schedules() const { return schedules_; }
  // Runs that turned out to repeat what was seen, up to independent steps.
  uint64_t redundant() const { return redundant_; }
  // What came of the runs, each as a number: what the scenario says of it (ScenarioRun::Outcome),
  // and what each party did, which is the row of its steps. Runs that differ in the order of
  // independent steps only have the same; so fewer of them than under kEverything means that a
  // footprint is not complete. Redundant runs do not count.
  const absl::btree_set<uint64_t>& outcomes() const { return outcomes_; }

 private:
  struct Asleep {
    uint64_t party = 0;
    StepFootprint footprint;
  };
  // A choice on the path: of a step, or of something within one.
  struct Node {
    bool is_step = false;
    size_t options = 0;
    size_t taken = 0;
    uint64_t to_try = 0;  // bits of options that have to be tried
    uint64_t tried = 0;
    std::vector<uint64_t> parties;  // kStep: of the options
    std::vector<Asleep> sleep;      // kStep: what need not be tried here
    StepFootprint footprint;        // kStep: of `taken`, in all runs so far
    bool has_footprint = false;
    std::vector<Asleep> tried_steps;  // kStep: what was tried before `taken`
  };
  // A step of the current run.
  struct Event {
    uint64_t party = 0;
    StepFootprint footprint;
    size_t node = kNoNode;         // where it was chosen, if there was a choice
    size_t enabled_by = kNoEvent;  // the event after which its party could run
    std::vector<uint64_t> before;  // bits of the events that happen before it
  };
  struct Promise {
    bool is_complete = false;
    std::vector<uint64_t> always;
  };
  static constexpr size_t kNoNode = SIZE_MAX;
  static constexpr size_t kNoEvent = SIZE_MAX;

  Node& NextNode(size_t options, bool is_step);
  size_t PickStep(absl::Span<const Option> options);
  bool IsAsleep(uint64_t party) const;
  // Who can run now, and since which event; tells the node of the latest event who no longer can.
  void NoteEnabled(absl::Span<const Option> options);
  void FinishEvent();
  // Adds the step to what its party has done.
  void NoteDeed(const Option& step);
  uint64_t OutcomeOf(const RunSummary& summary) const;
  bool GoOnFrom(Node& node);
  // Orders the event after those it depends on, and plans to see the races reversed.
  void FindRaces(size_t event);
  void Reverse(size_t earlier, size_t later);
  bool IsBefore(size_t earlier, size_t later) const;
  static void AddBefore(Event& event, size_t index, const Event& earlier);

  // What a party did in this run.
  struct Deeds {
    uint64_t party = 0;
    uint64_t hash = 0;
  };

  const Dependence dependence_;
  absl::btree_set<uint64_t> outcomes_;
  std::vector<Deeds> deeds_;
  std::vector<Node> path_;     // storage is kept beyond length_
  size_t length_ = 0;          // nodes of the path
  size_t depth_ = 0;           // nodes passed in this run
  std::vector<Event> events_;  // storage is kept beyond event_count_
  size_t event_count_ = 0;
  bool is_event_open_ = false;
  size_t node_of_next_ = kNoNode;  // of the event about to begin
  size_t events_to_race_ = 0;      // events before the run turned out to be redundant
  bool is_redundant_ = false;      // all that can run is asleep: only finishing this run
  std::vector<Asleep> sleep_;      // at the next choice of a step
  std::vector<std::pair<uint64_t, size_t>> enabled_;  // party, and the event that enabled it
  absl::flat_hash_map<uint64_t, Promise> promises_;   // by party
  uint64_t schedules_ = 0;
  uint64_t redundant_ = 0;
  uint64_t choices_max_ = 0;
  bool is_complete_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_EXHAUSTIVE_H_
