#include "millrace/graph/filters/quorum.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/drivers/memory.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::quorum_test {
namespace {

constexpr uint64_t kSize = 4096;

// A quorum over `children` disks "disk0", "disk1", … in memory.
class QuorumWorld {
 public:
  QuorumWorld(Engine& engine, size_t children, QuorumOptions options)
      : engine_(engine), context_(engine, "q") {
    options.on_report = [this](const QuorumReport& report) {
      static constexpr std::string_view kOperations[] = {"read", "write", "flush"};
      reports.push_back(StrCat(report.child.empty() ? "vote" : report.child, " ",
                               kOperations[static_cast<size_t>(report.operation)],
                               report.error.ok() ? " outvoted" : " failed"));
    };
    quorum_ = MakeQuorumDriver(std::move(options));
    for (size_t i = 0; i < children; ++i) AddChild(kSize);
  }

  void AddChild(uint64_t bytes) {
    const size_t i = disks.size();
    MemoryOptions memory;
    memory.bytes = bytes;
    disks.push_back(MakeMemoryDriver(std::move(memory)));
    contexts_.push_back(std::make_unique<SimpleDriverContext>(engine_, StrCat("disk", i)));
    context_.SetChild(ChildKey(Role::kData, i), *disks.back());
  }
  absl::Status CoOpen() MILLRACE_MAY_SUSPEND {
    for (size_t i = 0; i < disks.size(); ++i) {
      MILLRACE_RETURN_IF_ERROR(disks[i]->CoOpen(*contexts_[i]));
    }
    return quorum_->CoOpen(context_);
  }
  ProtocolDriver& quorum() { return *quorum_; }
  // What is at `offset` of a driver, or why it cannot be read.
  static std::string CoLook(ProtocolDriver& driver, uint64_t offset = 0) MILLRACE_MAY_SUSPEND {
    std::string data(4, '?');
    absl::Status status = driver.CoRead(offset, IoVector(data.data(), data.size()));
    return status.ok() ? data : StrCat("errno ", ErrnoOf(status));
  }
  static absl::Status CoPut(ProtocolDriver& driver, std::string_view data, uint64_t offset = 0)
      MILLRACE_MAY_SUSPEND {
    return driver.CoWrite(offset, IoVector::OfConst(data.data(), data.size()), {});
  }

  std::vector<std::unique_ptr<ProtocolDriver>> disks;
  std::vector<std::string> reports;

 private:
  Engine& engine_;
  SimpleDriverContext context_;
  std::vector<std::unique_ptr<SimpleDriverContext>> contexts_;
  std::unique_ptr<ProtocolDriver> quorum_;
};

template <typename Body>
void RunQuorum(size_t children, QuorumOptions options, Body body) {
  std::unique_ptr<Engine> engine = SimulatedEngine();
  QuorumWorld world(*engine, children, std::move(options));
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoOpen());
    body(world, *engine->simulated_io());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Quorum, WritesGoToAllChildrenAndReadsAgree) {
  RunQuorum(3, {.vote_threshold = 2}, [](QuorumWorld& world, SimulatedIo&) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(QuorumWorld::CoPut(world.quorum(), "data", 100).ok());
    for (auto& disk : world.disks) EXPECT_EQ(QuorumWorld::CoLook(*disk, 100), "data");
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum(), 100), "data");
    EXPECT_TRUE(world.quorum().CoWriteZeroes(ByteRange(100, 2), {}).ok());
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum(), 100), std::string("\0\0ta", 4));
    EXPECT_TRUE(world.quorum().CoFlush().ok());
    EXPECT_TRUE(world.reports.empty());
  });
}

TEST(Quorum, TheMajorityWinsAndTheOtherIsNamed) {
  RunQuorum(3, {.vote_threshold = 2}, [](QuorumWorld& world, SimulatedIo&) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(QuorumWorld::CoPut(world.quorum(), "good").ok());
    EXPECT_TRUE(QuorumWorld::CoPut(*world.disks[0], "evil").ok());
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), "good");
    EXPECT_EQ(world.reports, std::vector<std::string>({"child-0 read outvoted"}));
    EXPECT_EQ(QuorumWorld::CoLook(*world.disks[0]), "evil");
  });
}

TEST(Quorum, AnOutvotedChildIsMadeRightIfThatIsWanted) {
  RunQuorum(3, {.vote_threshold = 2, .rewrite_corrupted = true},
            [](QuorumWorld& world, SimulatedIo&) MILLRACE_MAY_SUSPEND {
              EXPECT_TRUE(QuorumWorld::CoPut(world.quorum(), "good").ok());
              EXPECT_TRUE(QuorumWorld::CoPut(*world.disks[2], "evil").ok());
              EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), "good");
              EXPECT_EQ(QuorumWorld::CoLook(*world.disks[2]), "good");
            });
}

TEST(Quorum, AVoteThatNobodyWinsFails) {
  RunQuorum(3, {.vote_threshold = 2}, [](QuorumWorld& world, SimulatedIo&) MILLRACE_MAY_SUSPEND {
    const std::string_view versions[] = {"aaaa", "bbbb", "cccc"};
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(QuorumWorld::CoPut(*world.disks[i], versions[i]).ok());
    }
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), StrCat("errno ", EIO));
    EXPECT_EQ(world.reports, std::vector<std::string>({"vote read failed"}));
  });
}

TEST(Quorum, ChildrenThatFailDoNotMatterWhileEnoughAreLeft) {
  RunQuorum(3, {.vote_threshold = 2}, [](QuorumWorld& world, SimulatedIo& io) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(QuorumWorld::CoPut(world.quorum(), "data").ok());
    io.Fail({.path = "disk1", .nth = 1, .error_number = ENOSPC, .is_persistent = true});
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), "data");
    EXPECT_TRUE(QuorumWorld::CoPut(world.quorum(), "more").ok());
    EXPECT_EQ(world.reports,
              std::vector<std::string>({"child-1 read failed", "child-1 write failed"}));
    io.Fail({.path = "disk2", .nth = 1, .is_persistent = true});
    EXPECT_EQ(ErrnoOf(QuorumWorld::CoPut(world.quorum(), "lost")), ENOSPC);
    EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), StrCat("errno ", ENOSPC));
    EXPECT_EQ(world.reports.back(), "vote read failed");
  });
}

TEST(Quorum, FifoReadsTheFirstChildThatCanBeRead) {
  RunQuorum(2, {.vote_threshold = 1, .read_pattern = QuorumReadPattern::kFifo},
            [](QuorumWorld& world, SimulatedIo& io) MILLRACE_MAY_SUSPEND {
              EXPECT_TRUE(QuorumWorld::CoPut(*world.disks[0], "aaaa").ok());
              EXPECT_TRUE(QuorumWorld::CoPut(*world.disks[1], "bbbb").ok());
              EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), "aaaa");
              io.Fail({.path = "disk0", .nth = 1});
              EXPECT_EQ(QuorumWorld::CoLook(world.quorum()), "bbbb");
              EXPECT_EQ(world.reports, std::vector<std::string>({"child-0 read failed"}));
            });
}

TEST(Quorum, RefusesChildrenThatCannotVote) {
  std::unique_ptr<Engine> engine = SimulatedEngine();
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    QuorumWorld too_few(*engine, 1, {.vote_threshold = 2});
    EXPECT_TRUE(absl::IsInvalidArgument(too_few.CoOpen()));
    QuorumWorld none(*engine, 0, {.vote_threshold = 1});
    EXPECT_TRUE(absl::IsInvalidArgument(none.CoOpen()));
    QuorumWorld uneven(*engine, 1, {.vote_threshold = 1});
    uneven.AddChild(kSize / 2);
    EXPECT_TRUE(absl::IsInvalidArgument(uneven.CoOpen()));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// A read beside a write must not take the children that the write has not reached for bad ones, and
// "correct" them with what the write replaces.
TEST(Quorum, ReadsBesideWritesSeeNoDisagreement) {
  Explore(
      [](Engine& engine, uint64_t) {
        QuorumWorld world(engine, 3, {.vote_threshold = 2, .rewrite_corrupted = true});
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_RETURN_IF_ERROR(world.CoOpen());
          TaskScope scope("users");
          scope.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            for (const std::string_view data : {"aaaa", "bbbb", "cccc"}) {
              MILLRACE_RETURN_IF_ERROR(QuorumWorld::CoPut(world.quorum(), data));
            }
            return absl::OkStatus();
          });
          scope.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
            for (int i = 0; i < 3; ++i) QuorumWorld::CoLook(world.quorum());
          });
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          for (auto& disk : world.disks) EXPECT_EQ(QuorumWorld::CoLook(*disk), "cccc");
          return absl::OkStatus();
        });
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_TRUE(world.reports.empty());
      },
      4);
}

}  // namespace
}  // namespace millrace::quorum_test
