#include "millrace/graph/io/image_locks.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/drivers/file.h"
#include "tests/support/command.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/temporary_folder.h"

namespace millrace::image_locks_test {
namespace {

// What a writable device has, and what a reader that tolerates no writer has.
constexpr Permissions kWriter{kConsistentRead | kWrite | kResize,
                              kConsistentRead | kWriteUnchanged};
constexpr Permissions kReader{kConsistentRead, kAllPermissions - kWrite - kResize};

// Another program that has come to ask whether it may write: it holds the locks for that, and is
// about to be refused.
class PasserBy {
 public:
  PasserBy(const std::string& path, const std::vector<uint64_t>& bytes)
      : fd_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    for (const uint64_t byte : bytes) {
      struct flock lock = {};
      lock.l_type = F_RDLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = static_cast<off_t>(byte);
      lock.l_len = 1;
      EXPECT_EQ(fcntl(fd_, F_OFD_SETLK, &lock), 0);
    }
  }
  ~PasserBy() { close(fd_); }
  PasserBy(const PasserBy&) = delete;
  PasserBy& operator=(const PasserBy&) = delete;

 private:
  const int fd_;
};

class ImageLocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = Engine::Create({.io = IoBackendKind::kThreads});
    ASSERT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    context_ = std::make_unique<SimpleDriverContext>(*engine_, "node");
    std::ofstream(path_) << std::string(65536, 'x');
  }

  template <typename Body>
  void Run(Body body) {
    const absl::Status status = engine_->Run(body);
    EXPECT_TRUE(status.ok()) << status;
  }
  std::unique_ptr<ProtocolDriver> CoOpenDriver(FileLocking locking = FileLocking::kOn)
      MILLRACE_MAY_SUSPEND {
    auto driver = MakeFileDriver({.path = path_, .locking = locking});
    EXPECT_TRUE(driver->CoOpen(*context_).ok());
    return driver;
  }
  static absl::Status Take(ProtocolDriver& driver, const Permissions& permissions) {
    absl::Status status = driver.PreparePermissions(permissions);
    if (status.ok()) driver.CommitPermissions();
    return status;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("image");
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SimpleDriverContext> context_;
};

TEST_F(ImageLocksTest, LayoutIsOneByteForEachBitUsedOrNotShared) {
  EXPECT_EQ(ImageLocks::BytesOf({kNoPermissions, kAllPermissions}), std::vector<uint64_t>());
  EXPECT_EQ(ImageLocks::BytesOf(kWriter), (std::vector<uint64_t>{100, 101, 103, 201, 203}));
  EXPECT_EQ(ImageLocks::BytesOf(kReader), (std::vector<uint64_t>{100, 201, 203}));
  EXPECT_EQ(ImageLocks::BytesOf({kWriteUnchanged, kNoPermissions}),
            (std::vector<uint64_t>{102, 200, 201, 202, 203}));
}

TEST_F(ImageLocksTest, AWriterAndAReaderRefuseEachOtherAndReadersDoNot) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    const absl::Status refused = Take(*second, kReader);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(refused.message().find("this process"), std::string::npos) << refused;
    // A reader may look all the same; nobody is told to write behind the other's back.
    const Conflict conflict = ConflictOf(refused).value();
    EXPECT_EQ(conflict.holders.at(0).type, "this process");
    EXPECT_NE(conflict.next_step.find("force-share"), std::string::npos);
    const absl::Status writer = Take(*second, kWriter);
    EXPECT_EQ(ConflictOf(writer).value().next_step, "close the image there first");
    EXPECT_EQ(writer.message().find("off"), std::string::npos) << writer;
    EXPECT_TRUE(Take(*first, kReader).ok());
    EXPECT_TRUE(Take(*second, kReader).ok());
    EXPECT_EQ(Take(*first, kWriter).code(), absl::StatusCode::kFailedPrecondition);
    second->CoClose();
    EXPECT_TRUE(Take(*first, kWriter).ok()) << "the refused try left something behind";
    first->CoClose();
    return absl::OkStatus();
  });
}

// While a change is prepared, both the old and the new permissions are held.
TEST_F(ImageLocksTest, APreparedChangeHoldsTheUnion) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    EXPECT_TRUE(first->PreparePermissions({kConsistentRead, kAllPermissions}).ok());
    EXPECT_FALSE(Take(*second, kReader).ok());
    first->CommitPermissions();
    EXPECT_TRUE(Take(*second, kReader).ok());
    EXPECT_TRUE(Take(*second, {}).ok());
    EXPECT_TRUE(first->PreparePermissions(kWriter).ok());
    EXPECT_FALSE(Take(*second, kReader).ok());
    first->AbortPermissions();
    EXPECT_TRUE(Take(*second, kReader).ok());
    first->CoClose();
    second->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, LocksMoveWithAReopen) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    MILLRACE_RETURN_IF_ERROR(first->CoPrepareReopen(false));
    EXPECT_TRUE(first->PreparePermissions(kReader).ok()) << "stumbled over its own locks";
    first->CommitReopen(false);
    EXPECT_FALSE(Take(*second, {kWrite, kAllPermissions}).ok()) << "the locks were lost";
    first->CommitPermissions();
    EXPECT_TRUE(Take(*second, kReader).ok()) << "the old file's locks are still there";
    first->CoClose();
    EXPECT_TRUE(Take(*second, kWriter).ok());
    second->CoClose();
    return absl::OkStatus();
  });
}

// What a reopen has reserved for a repair is not lost because somebody else edits the graph.
TEST_F(ImageLocksTest, AReopensReserveOutlivesOtherEditsAndEndsWithTheReopen) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    const Permissions shy = {kConsistentRead, kConsistentRead};  // nobody may write beside it
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(Take(*first, {kConsistentRead, kAllPermissions}).ok());
    MILLRACE_RETURN_IF_ERROR(first->CoPrepareReopen(true));
    EXPECT_FALSE(Take(*second, shy).ok()) << "nothing was reserved";
    EXPECT_TRUE(first->RehearsePermissions(kReader).ok());
    EXPECT_FALSE(Take(*second, shy).ok()) << "a dry run has let go of it";
    EXPECT_TRUE(first->PreparePermissions({kConsistentRead, kAllPermissions}).ok());
    first->AbortPermissions();
    EXPECT_FALSE(Take(*second, shy).ok()) << "an edit that was dropped has let go of it";
    EXPECT_TRUE(Take(*first, {kConsistentRead, kAllPermissions}).ok());
    EXPECT_FALSE(Take(*second, shy).ok()) << "an edit that was applied has let go of it";
    first->CoAbortReopen(true);
    EXPECT_TRUE(Take(*second, shy).ok()) << "it was kept too long";
    first->CoClose();
    second->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, ARehearsalIsRefusedLikeTheRealThingAndTakesNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(second->RehearsePermissions(kWriter).ok());
    EXPECT_TRUE(Take(*first, kWriter).ok()) << "the rehearsal has locked something";
    const absl::Status rehearsed = second->RehearsePermissions(kReader);
    EXPECT_EQ(rehearsed, Take(*second, kReader));
    EXPECT_EQ(ConflictOf(rehearsed).value().reason, ConflictReason::kImageLocked);
    // A prepared change goes on.
    EXPECT_TRUE(first->PreparePermissions(kReader).ok());
    EXPECT_TRUE(first->RehearsePermissions(kWriter).ok());
    first->CommitPermissions();
    EXPECT_TRUE(Take(*second, kReader).ok());
    first->CoClose();
    second->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, ARehearsedReopenIsRefusedLikeTheRealOneAndTakesNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    const Permissions shy = {kConsistentRead, kConsistentRead};  // nobody may write beside it
    auto first = CoOpenDriver();
    auto second = CoOpenDriver();
    EXPECT_TRUE(first->RehearseReopen(true).ok());
    EXPECT_TRUE(Take(*second, shy).ok()) << "the rehearsal has locked something";
    const absl::Status rehearsed = first->RehearseReopen(true);
    EXPECT_EQ(ConflictOf(rehearsed).value().reason, ConflictReason::kImageLocked);
    EXPECT_EQ(rehearsed, first->CoPrepareReopen(true));
    EXPECT_TRUE(first->RehearseReopen(false).ok());
    first->CoClose();
    second->CoClose();
    return absl::OkStatus();
  });
}

// A program that locks for itself alone.
TEST_F(ImageLocksTest, ARehearsalMeetsAnExclusiveLockLikeTheRealThing) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = CoOpenDriver();
    const int foreign = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    EXPECT_EQ(fcntl(foreign, F_OFD_SETLK, &lock), 0);
    const absl::Status rehearsed = driver->RehearsePermissions(kWriter);
    EXPECT_NE(rehearsed.message().find("keeps all others out"), std::string::npos) << rehearsed;
    EXPECT_EQ(rehearsed, Take(*driver, kWriter));
    close(foreign);
    driver->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, APasserByKeepsNobodyFromLettingGoNorFromKeepingWhatHeHas) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    const PasserBy passer_by(path_, {100, 101, 103, 200, 201, 203});
    EXPECT_TRUE(first->RehearsePermissions(kWriter).ok());
    EXPECT_TRUE(Take(*first, kWriter).ok()) << "nothing changes";
    const Permissions looser = {kWriter.used - kResize, kAllPermissions - kWrite};
    EXPECT_TRUE(first->RehearsePermissions(looser).ok());
    EXPECT_TRUE(Take(*first, looser).ok()) << "some of it goes";
    EXPECT_TRUE(Take(*first, {}).ok()) << "all of it goes";
    EXPECT_FALSE(Take(*first, looser).ok()) << "what has gone is asked for anew";
    first->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, WhatIsNewIsAskedForEvenIfTheRestIsHeld) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    const Permissions used_more = {kWriter.used | kWriteUnchanged, kWriter.shared};
    const Permissions shared_less = {kWriter.used, kWriter.shared - kWriteUnchanged};
    {
      const PasserBy passer_by(path_, {201, 202});
      const absl::Status refused = Take(*first, used_more);
      EXPECT_NE(refused.message().find("to use 'write unchanged'"), std::string::npos) << refused;
      EXPECT_EQ(first->RehearsePermissions(used_more), refused);
      EXPECT_TRUE(Take(*first, shared_less).ok());
      EXPECT_TRUE(Take(*first, kWriter).ok());
    }
    {
      const PasserBy passer_by(path_, {101, 102});
      const absl::Status refused = Take(*first, shared_less);
      EXPECT_NE(refused.message().find("keep others from 'write unchanged'"), std::string::npos)
          << refused;
      EXPECT_EQ(first->RehearsePermissions(shared_less), refused);
      EXPECT_TRUE(Take(*first, used_more).ok());
    }
    first->CoClose();
    return absl::OkStatus();
  });
}

// A job that has written its base makes it read-only again.
TEST_F(ImageLocksTest, APasserByDoesNotKeepAWriterFromBecomingReadOnly) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    const PasserBy passer_by(path_, {100, 101, 103, 201, 203});
    MILLRACE_RETURN_IF_ERROR(first->CoPrepareReopen(false));
    EXPECT_TRUE(first->PreparePermissions(kReader).ok());
    first->CommitReopen(false);
    first->CommitPermissions();
    auto second = CoOpenDriver();
    EXPECT_FALSE(Take(*second, {kWrite, kAllPermissions}).ok()) << "the locks were lost";
    second->CoClose();
    first->CoClose();
    return absl::OkStatus();
  });
}

// A reopening reserves what its node may have already.
TEST_F(ImageLocksTest, APasserByDoesNotKeepAReopenFromWhatTheNodeHasAlready) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    const PasserBy passer_by(path_, {201});
    EXPECT_TRUE(first->CoPrepareReopen(true).ok());
    EXPECT_TRUE(first->PreparePermissions(kWriter).ok());
    first->CommitReopen(true);
    first->CommitPermissions();
    first->CoClose();
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, LockingOffSeesNobodyAndHidesFromAll) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto first = CoOpenDriver(FileLocking::kOff);
    auto second = CoOpenDriver();
    EXPECT_TRUE(Take(*first, kWriter).ok());
    EXPECT_TRUE(Take(*second, kWriter).ok());
    EXPECT_TRUE(Take(*first, kWriter).ok());
    first->CoClose();
    second->CoClose();
    return absl::OkStatus();
  });
}

// ---- QEMU's own tools ---------------------------------------------------------------------------

TEST_F(ImageLocksTest, QemuImgRefusesAnImageWeWrite) {
  if (!HasProgram("qemu-img")) GTEST_SKIP() << "qemu-img is not installed (qemu-utils)";
  // A format reads its header, so that even asking for information minds a writer.
  ASSERT_EQ(RunCommand("qemu-img create -f qcow2 " + path_ + " 1M").exit_code, 0);
  const std::string info = "qemu-img info -f qcow2 " + path_;
  const std::string write = "qemu-io -f qcow2 -c 'write 0 512' " + path_;
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = CoOpenDriver();
    EXPECT_TRUE(Take(*driver, kWriter).ok());
    const CommandResult refused = RunCommand(info);
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.output.find("Failed to get shared \"write\" lock"), std::string::npos)
        << refused.output;
    EXPECT_TRUE(Take(*driver, kReader).ok());
    EXPECT_EQ(RunCommand(info).exit_code, 0);
    const CommandResult refused_write = RunCommand(write);
    EXPECT_NE(refused_write.output.find("Failed to get \"write\" lock"), std::string::npos)
        << refused_write.output;
    driver->CoClose();
    EXPECT_EQ(RunCommand(write).exit_code, 0);
    return absl::OkStatus();
  });
}

TEST_F(ImageLocksTest, WeRefuseAnImageThatAQemuDaemonHoldsAndNameIt) {
  if (!HasProgram("qemu-storage-daemon")) {
    GTEST_SKIP() << "qemu-storage-daemon is not installed (qemu-system-common)";
  }
  const std::string pid_file = folder_.File("pid");
  const CommandResult started =
      RunCommand("qemu-storage-daemon --daemonize --pidfile " + pid_file +
                 " --blockdev file,node-name=f,filename=" + path_ +
                 " --nbd-server addr.type=unix,addr.path=" + folder_.File("socket") +
                 " --export nbd,id=e,node-name=f,writable=on");
  ASSERT_EQ(started.exit_code, 0) << started.output;
  pid_t pid = 0;
  std::ifstream(pid_file) >> pid;
  ASSERT_GT(pid, 0);
  Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = CoOpenDriver();
    const absl::Status refused = Take(*driver, kReader);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(refused.message().find("process " + std::to_string(pid) + " (qemu-storage-da"),
              std::string::npos)
        << refused;
    const Conflict conflict = ConflictOf(refused).value();
    EXPECT_EQ(conflict.reason, ConflictReason::kImageLocked);
    EXPECT_EQ(conflict.holders.at(0).type, "process");
    EXPECT_EQ(conflict.holders.at(0).id, std::to_string(pid));
    EXPECT_EQ(conflict.holders.at(0).as, "qemu-storage-da");
    EXPECT_TRUE(Take(*driver, {kConsistentRead, kAllPermissions}).ok());
    driver->CoClose();
    return absl::OkStatus();
  });
  kill(pid, SIGTERM);
}

}  // namespace
}  // namespace millrace::image_locks_test
