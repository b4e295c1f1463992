// A start that is rehearsed: it is refused for what the start itself is refused for, and leaves
// nothing behind.
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/late_refusal.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/chain_story.h"

namespace millrace::start_rehearsal_test {
namespace {

using Start = std::function<absl::Status(bool is_rehearsal)>;

absl::Status Attach(Graph& graph, NodeId node, Permissions permissions, Attachment* attachment)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("other", "export");
  options.permissions = permissions;
  MILLRACE_ASSIGN_OR_RETURN(*attachment, Attachment::Attach(graph, node, std::move(options)));
  return absl::OkStatus();
}

// Somebody else on `node` is in the way of `start` with these permissions, told in the same words
// by the rehearsal; without him neither is refused.
absl::Status CoMeet(ChainStory& story, NodeId node, Permissions permissions, const Start& start)
    MILLRACE_MAY_SUSPEND {
  Attachment other;
  MILLRACE_RETURN_IF_ERROR(Attach(story.graph(), node, permissions, &other));
  const uint64_t revision = story.graph().revision();
  const absl::Status rehearsed = start(true);
  EXPECT_EQ(story.graph().revision(), revision);
  EXPECT_EQ(story.Shape(), "n3 <- n2 <- n1 <- n0");
  const absl::Status started = start(false);
  EXPECT_FALSE(started.ok());
  EXPECT_EQ(rehearsed.message(), started.message());
  EXPECT_EQ(LateRefusedJob(rehearsed), LateRefusedJob(started));
  EXPECT_EQ(StreamStepOf(rehearsed), StreamStepOf(started));
  other.CoDetach();
  EXPECT_TRUE(start(true).ok());
  return start(false);
}

constexpr Permissions kLetsNobodyFill = {kNoPermissions, kAllPermissions - kWriteUnchanged};
constexpr Permissions kLetsNobodyWrite = {kNoPermissions, kAllPermissions - kWrite};

TEST(StartRehearsal, OfAStreamMeetsWhomTheStreamMeets) {
  TellChainStory({.layers = 4, .guest_rounds = 0, .cost = 50},
                 [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                   const Start start = [&](bool is_rehearsal) MILLRACE_MAY_SUSPEND -> absl::Status {
                     const StreamOptions options = story.Stream("s", 3, 0);
                     if (!is_rehearsal) return story.CoStart(options);
                     MILLRACE_ASSIGN_OR_RETURN(
                         StreamProofs proofs,
                         ClaimForNewStream(story.graph(), story.jobs(), options));
                     return RehearseStreamStart(story.graph(), std::move(proofs), options);
                   };
                   MILLRACE_RETURN_IF_ERROR(CoMeet(story, story.node(3), kLetsNobodyFill, start));
                   return story.CoOver("s");
                 });
}

TEST(StartRehearsal, OfACommitMeetsWhomTheCommitMeets) {
  for (const size_t top : {size_t{2}, size_t{3}}) {  // below the active layer, and that itself
    TellChainStory(
        {.layers = 4, .guest_rounds = 0, .cost = 50},
        [top](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
          const Start start = [&](bool is_rehearsal) MILLRACE_MAY_SUSPEND -> absl::Status {
            const CommitOptions options = story.Commit("c", top, 0);
            if (!is_rehearsal) return story.CoStart(options);
            MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs,
                                      ClaimForNewCommit(story.graph(), story.jobs(), options));
            return RehearseCommitStart(story.graph(), std::move(proofs), options);
          };
          MILLRACE_RETURN_IF_ERROR(CoMeet(story, story.node(0), kLetsNobodyWrite, start));
          MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("c", /*force=*/true));
          return story.CoOver("c").ok() ? absl::InternalError("cancelled, and ended well")
                                        : absl::OkStatus();
        });
  }
}

}  // namespace
}  // namespace millrace::start_rehearsal_test
