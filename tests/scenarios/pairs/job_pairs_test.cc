// Every pair of requests on a chain of six: those start that may stand beside each other, and no
// others; what both start must both be able to finish, in every order, and leave the chain that the
// two say. (QEMU 7.2 accepts a stream over a commit's range on a writable chain, and one of the two
// fails at its very end.)
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/pairs/job_request.h"
#include "tests/scenarios/pairs/pair_rules.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::job_pairs_test {
namespace {

constexpr size_t kLayers = 6;
constexpr std::array<const char*, 2> kIds = {"first", "second"};

enum class Finish : uint8_t {
  kFirstEndsFirst,    // while the second is still at work
  kSecondEndsFirst,   // while the first is still at work
  kPendingThenFirst,  // both have done their work; the first is finalized first
  kPendingThenSecond,
  kTogether,  // both are let go, and end as they come
};
constexpr std::array<Finish, 5> kFinishes = {Finish::kFirstEndsFirst, Finish::kSecondEndsFirst,
                                             Finish::kPendingThenFirst, Finish::kPendingThenSecond,
                                             Finish::kTogether};

constexpr std::string_view kFirstsFilter = "first-filter";

struct Counts {
  int cases = 0;
  int both_started = 0;
  int beside_work = 0;  // one has ended while the other was seen at work
};

// Refusals that are because of somebody: they name who.
bool IsBecauseOfSomebody(ConflictReason reason) {
  return reason == ConflictReason::kNodeBusy || reason == ConflictReason::kFrozenLink ||
         reason == ConflictReason::kUnleasableFilter || reason == ConflictReason::kPermission;
}

// One pair, told once.
class Pair {
 public:
  Pair(const JobRequest& first, const JobRequest& second, Finish finish, Counts& counts)
      : requests_{first, second}, finish_(finish), counts_(counts) {}

  absl::Status CoTell(ChainStory& story) MILLRACE_MAY_SUSPEND {
    std::array<Attachment, 2> holds;
    absl::Status status = CoTellHolding(story, holds);
    for (const char* id : kIds) {  // what has not ended by now will not
      story.jobs().Cancel(id, true).IgnoreError();
      story.CoOver(id).IgnoreError();
    }
    for (Attachment& hold : holds) hold.CoDetach();
    return status;
  }

 private:
  absl::Status CoTellHolding(ChainStory& story, std::array<Attachment, 2>& holds)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(requests_[0].CoStart(story, StartOf(0), &holds[0]));
    // What has nothing to do does not stand still, but it waits to be finalized.
    const absl::Status second = requests_[1].CoStart(story, StartOf(1), &holds[1]);
    MILLRACE_RETURN_IF_ERROR(CheckMayStart(second));
    if (!second.ok()) {
      MILLRACE_RETURN_IF_ERROR(CheckRefusal(second));
      is_alone_ = true;
    } else {
      ++counts_.both_started;
    }
    MILLRACE_RETURN_IF_ERROR(CoFinish(story));
    return CheckChain(story);
  }

  // The first one's filter has a name only where the second is to name it.
  JobStart StartOf(size_t which) const {
    JobStart start;
    start.id = kIds[which];
    start.finalizes_by_hand = finish_ != Finish::kTogether;
    if (requests_[1].names_filter == FilterEnd::kNone) return start;
    (which == 0 ? start.filter_name : start.others_filter) = kFirstsFilter;
    return start;
  }

  // The second starts if and only if it may, wherever the first is still there by then for sure.
  absl::Status CheckMayStart(const absl::Status& second) const {
    if (finish_ == Finish::kTogether && !requests_[0].HasWork()) return absl::OkStatus();
    if (MayStandBeside(requests_[0], requests_[1], kLayers) == second.ok()) return absl::OkStatus();
    return absl::InternalError(second.ok() ? "it should have been refused"
                                           : StrCat("it should have started: ", second.ToString()));
  }

  // A refusal says why, and what to do; who is in the way is the first, and since when it is.
  static absl::Status CheckRefusal(const absl::Status& refused) {
    const std::optional<Conflict> conflict = ConflictOf(refused);
    if (!conflict) return absl::InternalError(StrCat("no conflict: ", refused.ToString()));
    const bool is_whole = !conflict->object.empty() && !conflict->next_step.empty();
    const bool names_first =
        std::any_of(conflict->holders.begin(), conflict->holders.end(),
                    [](const ConflictHolder& holder) { return holder.id == kIds[0]; });
    if (is_whole && (names_first || !IsBecauseOfSomebody(conflict->reason))) {
      return absl::OkStatus();
    }
    return absl::InternalError(StrCat("a poor refusal: ", refused.ToString()));
  }

  absl::Status CoFinish(ChainStory& story) MILLRACE_MAY_SUSPEND {
    const bool second_first =
        finish_ == Finish::kSecondEndsFirst || finish_ == Finish::kPendingThenSecond;
    const std::array<size_t, 2> order =
        second_first ? std::array<size_t, 2>{1, 0} : std::array<size_t, 2>{0, 1};
    if (finish_ == Finish::kTogether || finish_ == Finish::kPendingThenFirst ||
        finish_ == Finish::kPendingThenSecond) {
      for (const size_t which : order) LetGo(story, which);
      for (const size_t which : order) MILLRACE_RETURN_IF_ERROR(CoDoWork(story, which));
    }
    for (const size_t which : order) {
      LetGo(story, which);
      MILLRACE_RETURN_IF_ERROR(CoDoWork(story, which));
      MILLRACE_RETURN_IF_ERROR(CoEnd(story, which));
      if (which == order[0]) MILLRACE_RETURN_IF_ERROR(CheckOther(story, order[1]));
    }
    return absl::OkStatus();
  }

  // One has ended: the other is still at its work, though somebody's drain may park it, or it waits
  // to be finalized, whatever was asked for.
  absl::Status CheckOther(ChainStory& story, size_t which) {
    if (is_alone_ || finish_ == Finish::kTogether) return absl::OkStatus();
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query(kIds[which]));
    const bool is_at_work = job.state == JobState::kRunning || job.state == JobState::kPaused;
    const bool is_pending = job.state == JobState::kPending;
    const bool is_held = finish_ == Finish::kFirstEndsFirst || finish_ == Finish::kSecondEndsFirst;
    counts_.beside_work += is_at_work ? 1 : 0;
    if (is_held && requests_[which].HasWork() ? is_at_work : is_pending) return absl::OkStatus();
    return absl::InternalError(StrCat("when the other had ended, '", requests_[which].InWords(),
                                      "' was ", JobStateName(job.state), " at ", job.current,
                                      " of ", job.total));
  }

  bool IsThere(size_t which) const { return which == 0 || !is_alone_; }

  void LetGo(ChainStory& story, size_t which) {
    if (IsThere(which)) story.jobs().SetSpeed(kIds[which], 0).IgnoreError();  // it may be done
  }

  // Until it is pending or over; a job that becomes ready is completed.
  absl::Status CoDoWork(ChainStory& story, size_t which) MILLRACE_MAY_SUSPEND {
    if (!IsThere(which)) return absl::OkStatus();
    for (bool is_completed = false;;) {
      MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query(kIds[which]));
      if (job.state == JobState::kConcluded) return absl::OkStatus();
      if (job.state == JobState::kPending && !job.finalizes_automatically) return absl::OkStatus();
      if (job.state == JobState::kReady && !is_completed) {
        is_completed = true;
        MILLRACE_RETURN_IF_ERROR(story.jobs().Complete(kIds[which]));
      }
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
    }
  }

  absl::Status CoEnd(ChainStory& story, size_t which) MILLRACE_MAY_SUSPEND {
    if (!IsThere(which)) return absl::OkStatus();
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query(kIds[which]));
    if (job.state == JobState::kPending && !job.is_finalizing) {
      MILLRACE_RETURN_IF_ERROR(story.jobs().Finalize(kIds[which]));
    }
    const absl::Status over = story.CoOver(kIds[which]);
    if (!over.ok()) {
      return absl::InternalError(StrCat("'", requests_[which].InWords(),
                                        "' has started but not finished: ", over.ToString()));
    }
    requests_[which].Account(story);
    return story.jobs().Dismiss(kIds[which]);
  }

  absl::Status CheckChain(ChainStory& story) MILLRACE_OPENS_VIEW {
    std::set<size_t> expected;
    for (size_t layer = 0; layer < kLayers; ++layer) expected.insert(layer);
    for (size_t which = 0; which < 2; ++which) {
      if (!IsThere(which)) continue;
      for (const size_t layer : requests_[which].Removes(kLayers)) expected.erase(layer);
    }
    const std::vector<size_t> layers = LayerViews::LayersInUse(story.chain(), story.graph());
    if (std::set<size_t>(layers.begin(), layers.end()) == expected) return absl::OkStatus();
    return absl::InternalError(StrCat("the chain is not what the jobs say: ", story.Shape()));
  }

  const std::array<JobRequest, 2> requests_;
  const Finish finish_;
  Counts& counts_;
  bool is_alone_ = false;
};

// The pairs whose first request is of one kind, on one kind of chain.
class JobPairs : public ::testing::TestWithParam<std::tuple<RequestKind, bool>> {
 protected:
  // In production's order, as seed 0, or under the random schedule of another seed.
  void Tell(const JobRequest& first, const JobRequest& second, Finish finish, uint64_t seed) {
    ++counts_.cases;
    RandomDecider random(seed);
    std::unique_ptr<Engine> engine = SimulatedEngine(seed == 0 ? nullptr : &random, &stacks_);
    ChainStoryOptions options;
    options.layers = kLayers;
    options.is_read_only = std::get<bool>(GetParam());
    options.guest_rounds = 2;
    Pair pair(first, second, finish, counts_);
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
      return CoTellChainStory(*engine, options, seed, [&](ChainStory& story) MILLRACE_MAY_SUSPEND {
        return pair.CoTell(story);
      });
    });
    EXPECT_TRUE(status.ok()) << first.InWords() << ", then " << second.InWords() << ", finish "
                             << static_cast<int>(finish) << ", seed " << seed << ": " << status;
  }

  // Every pair whose first request is of the kind, with every finish; of these cases one in
  // `stride`, all finishes in turn, each under a schedule of its own if `is_random`.
  void TellAll(uint64_t stride, bool is_random) {
    const std::vector<JobRequest> requests = AllRequests(kLayers);
    uint64_t number = 0;
    for (const JobRequest& first : requests) {
      if (first.kind != std::get<RequestKind>(GetParam())) continue;
      std::vector<JobRequest> seconds = requests;
      const std::vector<JobRequest> of_filter = RequestsOfFilterOf(first, kLayers);
      seconds.insert(seconds.end(), of_filter.begin(), of_filter.end());
      for (const JobRequest& second : seconds) {
        ++number;
        for (size_t finish = 0; finish < kFinishes.size(); ++finish) {
          if ((number + finish) % stride != 0) continue;
          Tell(first, second, kFinishes[finish],
               is_random ? number * kFinishes.size() + finish : 0);
          if (HasFailure()) return;
        }
      }
    }
    EXPECT_GT(counts_.both_started, 0);
    EXPECT_GT(counts_.beside_work, 0);
    printf("%d cases, in %d of them both started, in %d one ended beside the other's work\n",
           counts_.cases, counts_.both_started, counts_.beside_work);
    RecordProperty("cases", counts_.cases);
  }

  StackPool stacks_;
  Counts counts_;
};

// So many that some meet while both are at work.
TEST_P(JobPairs, WhatBothStartBothFinish) { TellAll(std::min<uint64_t>(CaseStride(), 11), false); }

// All of them where randomised tests run 1,000 seeds, and as small a part as those run otherwise.
TEST_P(JobPairs, WhatBothStartBothFinishUnderRandomSchedules) {
  TellAll(std::clamp<uint64_t>(1000 / SeedCount(), 1, 20), true);
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<RequestKind, bool>>& info) {
  constexpr std::array<const char*, 6> kNames = {"Stream",       "StreamToBottom", "Commit",
                                                 "ActiveCommit", "Mirror",         "InsertFilter"};
  return StrCat(kNames[static_cast<size_t>(std::get<RequestKind>(info.param))],
                std::get<bool>(info.param) ? "OnReadOnlyChain" : "OnWritableChain");
}

INSTANTIATE_TEST_SUITE_P(
    ChainOfSix, JobPairs,
    ::testing::Combine(::testing::Values(RequestKind::kStream, RequestKind::kStreamToBottom,
                                         RequestKind::kCommit, RequestKind::kActiveCommit,
                                         RequestKind::kMirror, RequestKind::kInsertFilter),
                       ::testing::Bool()),
    &NameOf);

}  // namespace
}  // namespace millrace::job_pairs_test
