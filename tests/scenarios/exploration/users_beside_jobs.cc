// Users who are clumsy or in a hurry: transactions that one member breaks, shutting down at any
// moment, other speeds, nodes that two of them reopen, filters within a section of their own.
#include <array>
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/block_job.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/micro_parts.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

// ---- Transactions -------------------------------------------------------------------------------

constexpr ChainStoryOptions kSixQuietLayers = {.layers = 6, .guest_rounds = 0};

// Two streams that end together or not at all: 'u' of n4 into n5, 'l' of n1 into n2.
absl::Status CoStartTogether(ChainStory& story, int64_t speed_of_upper) MILLRACE_MAY_SUSPEND {
  const std::shared_ptr<JobTransaction> together = story.jobs().NewTransaction();
  StreamOptions upper = story.StreamToBottom("u", 5, 4);
  upper.job.spec.transaction = together;
  upper.job.spec.speed = speed_of_upper;
  StreamOptions lower = story.StreamToBottom("l", 2, 1);
  lower.job.spec.transaction = together;
  MILLRACE_RETURN_IF_ERROR(story.CoStart(upper));
  return story.CoStart(lower);
}

// Both results, and what the chain shows, are one story.
absl::Status CoEndTogether(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  const absl::Status upper = story.CoOver("u");
  const absl::Status lower = story.CoOver("l");
  EXPECT_EQ(upper.ok(), lower.ok()) << upper << " and " << lower;
  const std::string shape = story.Shape();
  const bool is_done = shape == "n5 <- n3 <- n2 <- n0";
  EXPECT_EQ(upper.ok(), is_done) << shape;
  Demand(run, is_done || !upper.ok() || !lower.ok(), "O3 chain", shape);
  Demand(run, is_done || shape == "n5 <- n4 <- n3 <- n2 <- n1 <- n0", "I15 transaction", shape);
  return absl::OkStatus();
}

using Act = std::function<absl::Status(ScenarioRun&, ChainStory&)>;

Scenario TogetherAnd(std::string what, int64_t speed_of_upper, Act act) {
  return StoryScenario(
      StrCat("two streams of a transaction and ", what), kSixQuietLayers,
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        TaskScope scope("user");
        MILLRACE_RETURN_IF_ERROR(CoStartTogether(story, speed_of_upper));
        CoSpawnOrDo(scope, "user", [&]() MILLRACE_MAY_SUSPEND { return act(run, story); });
        absl::Status result = CoEndTogether(run, story);
        run.engine().simulated_io()->ClearFailures();
        result.Update(scope.CoJoin());
        return result;
      });
}

absl::Status CoCancelOne(ChainStory& story, const char* id) MILLRACE_MAY_SUSPEND {
  CoYield("user.cancel");
  story.jobs().Cancel(id, true).IgnoreError();  // it may be over
  return absl::OkStatus();
}

absl::Status CoDrainTop(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(story.graph(), {story.node(5)}, {story.chain().monitor_holder}));
  for (int i = 0; i < 4; ++i) CoYield("user.drained");
  return absl::OkStatus();
}

// ---- Speeds -------------------------------------------------------------------------------------

// At a byte a second it sleeps for minutes; nobody has to wait for that who does not want to.
Scenario SlowAnd(std::string what, bool must_succeed, Act act) {
  return StoryScenario(
      StrCat("a stream at a byte a second and ", what), {.layers = 4, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        StreamOptions stream = story.StreamToBottom("s", 3, 2);
        stream.job.spec.speed = 1;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
        MILLRACE_RETURN_IF_ERROR(act(run, story));
        const absl::Status over = story.CoOver("s");
        EXPECT_TRUE(over.ok() || (!must_succeed && absl::IsCancelled(over))) << over;
        EXPECT_LT(run.engine().clock().Now(), 10 * kSecond) << "it has slept on";
        return absl::OkStatus();
      });
}

// ---- The end ------------------------------------------------------------------------------------

// Everything is shut down while one job is at work, slowly, and two are over and are kept.
Scenario ShutDownAtWork() {
  return StoryScenario(
      "shutting down with jobs at work and jobs that are kept", kSixQuietLayers,
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        for (const size_t top : {1u, 3u}) {
          StreamOptions quick = story.StreamToBottom(StrCat("q", top), top, top);
          quick.job.spec.dismisses_automatically = false;
          MILLRACE_RETURN_IF_ERROR(story.CoStart(quick));
          MILLRACE_RETURN_IF_ERROR(story.CoOver(StrCat("q", top)));
        }
        StreamOptions slow = story.StreamToBottom("s", 5, 4);
        slow.job.spec.speed = 1;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(slow));
        CoYield("user.shutdown");
        story.jobs().CoShutdown();
        EXPECT_LT(run.engine().clock().Now(), 10 * kSecond) << "it has waited for the slow one";
        return absl::OkStatus();
      });
}

Scenario ShutDownTogether() {
  return StoryScenario("shutting down with a transaction at work", kSixQuietLayers,
                       [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                         MILLRACE_RETURN_IF_ERROR(CoStartTogether(story, 0));
                         CoYield("user.shutdown");
                         story.jobs().CoShutdown();
                         return absl::OkStatus();
                       });
}

// ---- The graph ----------------------------------------------------------------------------------

// Two users make the same image writable and read-only again, and a guest is at work above it.
Scenario TwoReopen() {
  return StoryScenario("two users reopen one image", {.layers = 2, .guest_rounds = 1},
                       [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                         TaskScope scope("users");
                         for (const char* name : {"user1", "user2"}) {
                           scope.Spawn(name, [&story, name]() MILLRACE_MAY_SUSPEND -> absl::Status {
                             const HolderRef user = MakeHolder(name, "user");
                             for (const bool is_read_only : {false, true}) {
                               MILLRACE_RETURN_IF_ERROR(
                                   CoSetReadOnly(story.graph(), story.node(0), is_read_only, user));
                             }
                             return absl::OkStatus();
                           });
                         }
                         MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
                         EXPECT_TRUE(IsReadOnly(story.graph(), story.node(0)));
                         return absl::OkStatus();
                       });
}

AttachmentOptions KeeperOf(const HolderRef& user) {
  AttachmentOptions options;
  options.holder = user;
  options.queues_requests = false;
  options.stays_at_node = true;
  return options;
}

absl::Status Move(ChainStory& story, const DrainedSection& drained, const HolderRef& user,
                  NodeId filter, bool is_in) MILLRACE_OPENS_VIEW {
  GraphTransaction change(story.graph());
  change.OnBehalfOf(user).Show(drained);
  if (is_in) {
    change.ReplaceNode(story.node(1), filter);
  } else {
    change.RemoveFilter(filter);
  }
  return change.Commit().status();
}

// A user puts a filter below the guest and takes it out again; his section goes on for a while
// after each, and another one drains what is below meanwhile.
Scenario FilterInLongSections() {
  return StoryScenario(
      "a filter comes and goes within long sections", {.layers = 2, .guest_rounds = 2},
      [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        story.GiveUpOrder();  // what fails leaves it in
        const HolderRef user = MakeHolder("user", "monitor");
        MILLRACE_ASSIGN_OR_RETURN(
            Attachment keeper,
            CoAddFilterBeside(story.graph(), MakePassFilter(), "f", story.node(1), KeeperOf(user)));
        TaskScope scope("drainer");
        scope.Spawn("drainer", [&story]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                    DrainedSection::CoBegin(story.graph(), {story.node(0)}, {}));
          CoYield("drainer.drained");
          return absl::OkStatus();
        });
        absl::Status status;
        for (const bool is_in : {true, false}) {
          absl::StatusOr<DrainedSection> drained =
              DrainedSection::CoBegin(story.graph(), {story.node(1)}, {user});
          status.Update(drained.status());
          if (status.ok()) status = Move(story, *drained, user, keeper.node(), is_in);
          for (int i = 0; i < 2; ++i) CoYield("user.drained");
        }
        keeper.CoDetach();
        status.Update(scope.CoJoin());
        return status;
      });
}

// ---- A guest's port -----------------------------------------------------------------------------

// A client that asks through a port, for three reads, and is told of the end of each.
struct PortClient {
  static void OnDone(GuestRequest& request) {
    auto& client = *static_cast<PortClient*>(request.context);
    ++client.told;
    // One that was turned away, because the client leaves, has never begun.
    const bool was_served = !absl::IsCancelled(request.status);
    Demand(client.run, !client.is_drained || !was_served, "G7 drain",
           "served inside somebody's drained section");
  }

  void Ask(const GuestPort& port) {
    for (size_t i = 0; i < requests.size(); ++i) {
      GuestRequest& request = requests[i];
      request.operation = GuestOperation::kRead;
      request.offset = i * bytes.size();
      request.iov = {&piece, 1};
      request.completion = &OnDone;
      request.context = this;
      if (port.Submit(request)) ++asked;
    }
  }

  ScenarioRun& run;
  size_t asked = 0;
  size_t told = 0;
  bool is_drained = false;
  std::array<uint8_t, 512> bytes = {};
  iovec piece = {bytes.data(), bytes.size()};
  std::array<GuestRequest, 3> requests{};
};

absl::StatusOr<Attachment> AttachClient(ChainStory& story) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("client", "export");
  options.permissions = {kConsistentRead, kAllPermissions};
  return Attachment::Attach(story.graph(), story.node(1), options);
}

// Its disk is drained while it asks, and it leaves at some moment: by then it has been told of all.
Scenario ClientLeaves() {
  return StoryScenario(
      "a client of a port asks, and leaves, beside a drain", {.layers = 2, .guest_rounds = 0},
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        PortClient client{run};
        MILLRACE_ASSIGN_OR_RETURN(Attachment attachment, AttachClient(story));
        client.Ask(attachment.guest_port());
        TaskScope scope("drainer");
        scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          for (int i = 0; i < 2; ++i) {
            MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                      DrainedSection::CoBegin(story.graph(), {story.node(0)}, {}));
            client.is_drained = true;
            CoYield("drainer.drained");
            client.is_drained = false;
          }
          return absl::OkStatus();
        });
        for (int i = 0; i < 3; ++i) CoYield("client.waits");
        attachment.CoDetach();
        Demand(run, client.told == client.asked, "I11 port",
               "the client has left and is still to be told");
        return scope.CoJoin();
      });
}

}  // namespace

std::vector<Scenario> UsersBesideJobs() {
  std::vector<Scenario> scenarios;
  for (const char* id : {"u", "l"}) {
    scenarios.push_back(TogetherAnd(StrCat("a cancel of '", id, "'"), 0,
                                    [id](ScenarioRun&, ChainStory& story)
                                        MILLRACE_MAY_SUSPEND { return CoCancelOne(story, id); }));
  }
  scenarios.push_back(TogetherAnd("a cancel when one of them is done", 1,
                                  [](ScenarioRun&, ChainStory& story)
                                      MILLRACE_MAY_SUSPEND -> absl::Status {
                                        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                                        return CoCancelOne(story, "u");
                                      }));
  scenarios.push_back(
      TogetherAnd("an error of one", 0, [](ScenarioRun& run, ChainStory&) MILLRACE_MAY_SUSPEND {
        run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                           .path = "n4",
                                           .nth = 1,
                                           .is_persistent = true});
        return absl::OkStatus();
      }));
  scenarios.push_back(TogetherAnd("a drain of the upper one", 0,
                                  [](ScenarioRun&, ChainStory& story)
                                      MILLRACE_MAY_SUSPEND { return CoDrainTop(story); }));
  scenarios.push_back(SlowAnd("no limit any more", true, [](ScenarioRun&, ChainStory& story) {
    return story.jobs().SetSpeed("s", 0);
  }));
  scenarios.push_back(SlowAnd("a cancel", false, [](ScenarioRun&, ChainStory& story) {
    return story.jobs().Cancel("s", true);
  }));
  scenarios.push_back(ShutDownAtWork());
  scenarios.push_back(ShutDownTogether());
  scenarios.push_back(TwoReopen());
  scenarios.push_back(FilterInLongSections());
  scenarios.push_back(ClientLeaves());
  return scenarios;
}

}  // namespace millrace
