// Real filters put in and taken out by jobs: each acts while it is in, and not before or after.
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/filters/throttle.h"
#include "tests/support/chain_story.h"
#include "tests/support/graph_fixture.h"

namespace millrace::filter_effects_test {
namespace {

using Cluster = MemoryOverlayImage::Cluster;

constexpr uint64_t kSector = 512;

absl::Status CoInsert(ChainStory& story, std::unique_ptr<FilterDriver> filter, NodeId below)
    MILLRACE_MAY_SUSPEND {
  InsertFilterOptions options{.spec = {.id = "i"}, .below = below, .filter_name = "f"};
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(story.graph(), story.jobs(), std::move(filter), std::move(options))
          .status());
  return story.CoOver("i");
}

absl::Status CoRemove(ChainStory& story) MILLRACE_MAY_SUSPEND {
  return story.CoRemoveFilter(story.Find("f"));
}

absl::Status CoRead(ChainStory& story, uint64_t sector, std::string& data) MILLRACE_MAY_SUSPEND {
  data.resize(kSector);
  return story.chain().guest.CoRead(sector * kSector, IoVector(data.data(), data.size()));
}

// Four reads of a sector; how long they took.
absl::StatusOr<Nanoseconds> CoTimeOfReads(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const Clock& clock = story.graph().engine().clock();
  const Nanoseconds start = clock.Now();
  std::string data;
  for (int i = 0; i < 4; ++i) MILLRACE_RETURN_IF_ERROR(CoRead(story, 0, data));
  return clock.Now() - start;
}

TEST(InsertedFilter, ThrottlesWhileItIsIn) {
  const ChainStoryOptions two = {.layers = 2, .guest_rounds = 0, .cost = 10};
  TellChainStory(two, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const Nanoseconds before, CoTimeOfReads(story));
    EXPECT_EQ(before, 0);
    auto group = std::make_shared<ThrottleGroup>(story.graph().engine().scheduler(), "g",
                                                 ThrottleLimits{.bytes_total = {.average = 512}});
    MILLRACE_RETURN_IF_ERROR(CoInsert(story, MakeThrottleDriver(group), story.node(1)));
    EXPECT_EQ(story.Shape(), "[f] <- n1 <- n0");
    MILLRACE_ASSIGN_OR_RETURN(const Nanoseconds meanwhile, CoTimeOfReads(story));
    // A sector a second, and what the bucket holds at the start.
    EXPECT_GE(meanwhile, 2 * kSecond);
    EXPECT_LE(meanwhile, 4 * kSecond);
    MILLRACE_RETURN_IF_ERROR(CoRemove(story));
    MILLRACE_ASSIGN_OR_RETURN(const Nanoseconds after, CoTimeOfReads(story));
    EXPECT_EQ(after, 0);
    EXPECT_EQ(story.Shape(), "n1 <- n0");
    return absl::OkStatus();
  });
}

// Sectors 0, 3 and 6 are in n0 only.
TEST(InsertedFilter, CopiesOnReadWhileItIsIn) {
  const ChainStoryOptions two = {.layers = 2, .guest_rounds = 0, .cost = 10};
  TellChainStory(two, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::vector<Cluster>& map = story.chain().images[1]->map;
    std::string data;
    MILLRACE_RETURN_IF_ERROR(CoRead(story, 0, data));
    EXPECT_EQ(map[0], Cluster::kUnallocated);
    MILLRACE_RETURN_IF_ERROR(CoInsert(story, MakeCopyOnReadDriver({}), story.node(1)));
    std::string again;
    MILLRACE_RETURN_IF_ERROR(CoRead(story, 0, again));
    EXPECT_EQ(map[0], Cluster::kData);
    EXPECT_EQ(again, data);
    EXPECT_EQ(map[3], Cluster::kUnallocated);
    MILLRACE_RETURN_IF_ERROR(CoRemove(story));
    MILLRACE_RETURN_IF_ERROR(CoRead(story, 3, data));
    EXPECT_EQ(map[3], Cluster::kUnallocated);
    EXPECT_EQ(story.Shape(), "n1 <- n0");
    return absl::OkStatus();
  });
}

// It writes to what it is above, which a read-only image does not take.
TEST(InsertedFilter, ThatWritesIsRefusedAboveAReadOnlyImage) {
  const ChainStoryOptions three = {.layers = 3, .guest_rounds = 2, .cost = 10};
  TellChainStory(three, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const absl::Status refused = CoInsert(story, MakeCopyOnReadDriver({}), story.node(1));
    ExpectConflict(refused, ConflictReason::kReadOnly, "n1");
    EXPECT_EQ(story.Shape(), "n2 <- n1 <- n0");
    return absl::OkStatus();
  });
}

TEST(InsertedFilter, InjectsFaultsWhileItIsIn) {
  const ChainStoryOptions two = {.layers = 2, .guest_rounds = 0, .cost = 10};
  TellChainStory(two, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    std::string data;
    MILLRACE_RETURN_IF_ERROR(CoRead(story, 0, data));
    // What is written is what is there, so no view changes.
    const auto write = [&]() MILLRACE_MAY_SUSPEND {
      return story.chain().guest.CoWrite(0, IoVector(data.data(), data.size()));
    };
    MILLRACE_RETURN_IF_ERROR(write());
    FaultInjectionOptions faults;
    faults.inject = {{.event = "none", .error_number = ENOSPC, .io_types = kFaultWrite}};
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<FilterDriver> filter,
                              MakeFaultInjectionDriver(std::move(faults)));
    MILLRACE_RETURN_IF_ERROR(CoInsert(story, std::move(filter), story.node(1)));
    const absl::Status refused = write();
    EXPECT_EQ(ErrnoOf(refused), ENOSPC) << refused;
    MILLRACE_RETURN_IF_ERROR(CoRead(story, 0, data));
    MILLRACE_RETURN_IF_ERROR(CoRemove(story));
    return write();
  });
}

}  // namespace
}  // namespace millrace::filter_effects_test
