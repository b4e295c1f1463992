#include "millrace/graph/filters/verify.h"

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

namespace millrace::verify_test {
namespace {

constexpr uint64_t kSize = 4096;

class Disk {
 public:
  Disk(Engine& engine, std::string name) : context_(engine, std::move(name)) {
    MemoryOptions memory;
    memory.bytes = kSize;
    disk_ = MakeMemoryDriver(std::move(memory));
  }
  absl::Status CoOpen() MILLRACE_MAY_SUSPEND { return disk_->CoOpen(context_); }
  ProtocolDriver& driver() { return *disk_; }
  absl::Status CoPut(std::string_view data, uint64_t offset) MILLRACE_MAY_SUSPEND {
    return disk_->CoWrite(offset, IoVector::OfConst(data.data(), data.size()), {});
  }
  std::string CoLook(uint64_t offset) MILLRACE_MAY_SUSPEND {
    std::string data(4, '?');
    const absl::Status status = disk_->CoRead(offset, IoVector(data.data(), data.size()));
    return status.ok() ? data : StrCat("errno ", ErrnoOf(status));
  }

 private:
  SimpleDriverContext context_;
  std::unique_ptr<ProtocolDriver> disk_;
};

// A filter over "raw" and "test"; `told` is what it has said of them.
class Verify : public ::testing::Test {
 protected:
  template <typename Body>
  void Run(Body body) {
    context_.SetChild(Role::kFiltered, raw_.driver());
    context_.SetChild(Role::kData, test_.driver());
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(raw_.CoOpen());
      MILLRACE_RETURN_IF_ERROR(test_.CoOpen());
      MILLRACE_RETURN_IF_ERROR(filter_->CoOpen(context_));
      body();
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  std::string CoRead(uint64_t offset) MILLRACE_MAY_SUSPEND {
    std::string data(4, '?');
    const absl::Status status = filter_->CoRead(offset, IoVector(data.data(), data.size()));
    return status.ok() ? data : StrCat("errno ", ErrnoOf(status));
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  Disk raw_{*engine_, "raw-disk"};
  Disk test_{*engine_, "test-disk"};
  SimpleDriverContext context_{*engine_, "v"};
  std::vector<std::string> told_;
  std::unique_ptr<FilterDriver> filter_ =
      MakeVerifyDriver({.on_mismatch = [this](const VerifyMismatch& found) {
        told_.push_back(StrCat(found.node, found.is_write ? " write " : " read ",
                               found.range.offset, "+", found.range.bytes, " ", found.words));
      }});
};

TEST_F(Verify, WhatIsWrittenGoesToBothAndIsReadWhereTheyAgree) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(filter_->CoWrite(100, IoVector::OfConst("data", 4), {}).ok());
    EXPECT_EQ(raw_.CoLook(100), "data");
    EXPECT_EQ(test_.CoLook(100), "data");
    EXPECT_EQ(CoRead(100), "data");
    EXPECT_TRUE(filter_->CoWriteZeroes(ByteRange(102, 2), {}).ok());
    EXPECT_EQ(raw_.CoLook(100), test_.CoLook(100));
    EXPECT_EQ(CoRead(100), std::string("da\0\0", 4));
    EXPECT_TRUE(filter_->CoFlush().ok());
    EXPECT_TRUE(filter_->CoDiscard(ByteRange(0, kSize)).ok());
    EXPECT_EQ(test_.CoLook(100), std::string("da\0\0", 4)) << "nobody says what a discard leaves";
  });
  EXPECT_TRUE(told_.empty());
}

TEST_F(Verify, AByteThatDiffersIsToldAndIsAnError) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    ASSERT_TRUE(test_.CoPut("x", 202).ok());
    EXPECT_EQ(CoRead(196), std::string(4, '\0'));
    EXPECT_EQ(CoRead(200), StrCat("errno ", EIO));
  });
  EXPECT_EQ(told_, std::vector<std::string>({"v read 200+4 contents mismatch at offset 202"}));
}

TEST_F(Verify, OneThatFailsAloneIsToldAndTwoThatFailAlikeAreNot) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    SimulatedIo& io = *engine_->simulated_io();
    io.Fail({.path = "test-disk", .error_number = ENOSPC});
    EXPECT_EQ(ErrnoOf(filter_->CoWrite(0, IoVector::OfConst("data", 4), {})), EIO);
    io.ClearFailures();
    io.Fail({.path = "raw-disk"});
    EXPECT_EQ(CoRead(0), StrCat("errno ", EIO));
    io.ClearFailures();
    EXPECT_EQ(told_, std::vector<std::string>({"v write 0+4 return value mismatch -28 != 0",
                                               "v read 0+4 return value mismatch 0 != -5"}));
    told_.clear();
    for (const char* disk : {"raw-disk", "test-disk"}) {
      io.Fail({.path = disk, .error_number = ENOSPC});
    }
    EXPECT_EQ(ErrnoOf(filter_->CoWriteZeroes(ByteRange(0, 512), {})), ENOSPC);
  });
  EXPECT_TRUE(told_.empty());
}

TEST_F(Verify, AFlushReachesBothAndFailsWhereEitherDoes) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    SimulatedIo& io = *engine_->simulated_io();
    for (const char* disk : {"raw-disk", "test-disk"}) {
      io.Fail({.path = disk, .error_number = ENOSPC});
      EXPECT_EQ(ErrnoOf(filter_->CoFlush()), ENOSPC) << disk;
      io.ClearFailures();
    }
  });
  EXPECT_TRUE(told_.empty());
}

TEST_F(Verify, ItsSizeStays) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    EXPECT_EQ(filter_->bytes(), kSize);
    EXPECT_EQ(filter_->CoResize(2 * kSize).code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(filter_->bytes(), kSize);
  });
}

TEST(VerifyAlone, WithoutASecondChildItIsRefused) {
  std::unique_ptr<Engine> engine = SimulatedEngine();
  SimpleDriverContext context(*engine, "v");
  std::unique_ptr<FilterDriver> filter = MakeVerifyDriver({});
  const absl::Status status =
      engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status { return filter->CoOpen(context); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

}  // namespace
}  // namespace millrace::verify_test
