#include "millrace/graph/filters/fault_injection.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/sync/event.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/filters/fault_injection_config.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::fault_injection_test {
namespace {

class FaultInjection : public ::testing::Test {
 protected:
  // Opens the filter over memory and runs `body(filter)` on it.
  template <typename Body>
  void Run(FaultInjectionOptions options, Body body) {
    auto made = MakeFaultInjectionDriver(std::move(options));
    ASSERT_TRUE(made.ok()) << made.status();
    std::unique_ptr<FilterDriver> filter = *std::move(made);
    context_.SetChild(Role::kFiltered, *disk_);
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(disk_->CoOpen(disk_context_));
      MILLRACE_RETURN_IF_ERROR(filter->CoOpen(context_));
      return body(*filter);
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  // What the format above does for a write or a flush: the errno, 0 if all is well.
  int CoWriteAt(FilterDriver& filter, uint64_t offset) MILLRACE_MAY_SUSPEND {
    filter.CoEvent("write_aio");
    return ErrnoOrZero(filter.CoWrite(offset, IoVector(data_, sizeof(data_)), {}));
  }
  int CoReadAt(FilterDriver& filter, uint64_t offset) MILLRACE_MAY_SUSPEND {
    filter.CoEvent("read_aio");
    return ErrnoOrZero(filter.CoRead(offset, IoVector(data_, sizeof(data_))));
  }
  int CoFlushOf(FilterDriver& filter) MILLRACE_MAY_SUSPEND {
    filter.CoEvent("flush_to_disk");
    return ErrnoOrZero(filter.CoFlush());
  }
  static int ErrnoOrZero(const absl::Status& status) { return status.ok() ? 0 : ErrnoOf(status); }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  SimpleDriverContext disk_context_{*engine_, "disk"};
  SimpleDriverContext context_{*engine_, "blkdebug0"};
  std::unique_ptr<ProtocolDriver> disk_ = MakeMemoryDriver({.bytes = 64 * 1024});
  uint8_t data_[1024] = {};
};

TEST_F(FaultInjection, AnErrorLastsUntilAnotherEventInjects) {
  Run({.inject = {{.event = "write_aio", .error_number = ENOSPC},
                  {.event = "read_aio", .io_types = kFaultDiscard}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoFlushOf(filter), 0);
        EXPECT_EQ(CoWriteAt(filter, 0), ENOSPC);
        EXPECT_EQ(CoWriteAt(filter, 0), ENOSPC);
        EXPECT_EQ(CoFlushOf(filter), ENOSPC) << "armed rules meet every kind of request";
        EXPECT_EQ(CoReadAt(filter, 0), 0);
        EXPECT_EQ(CoFlushOf(filter), 0);
        EXPECT_EQ(ErrnoOrZero(filter.CoDiscard(ByteRange(0, 512))), EIO);
        return absl::OkStatus();
      });
}

TEST_F(FaultInjection, AnInjectedErrorComesBeforeTheEffectAndSaysSo) {
  Run({.inject = {{.event = "write_aio"}}}, [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
    data_[0] = 7;
    filter.CoEvent("write_aio");
    const absl::Status status = filter.CoWrite(512, IoVector(data_, 1), {});
    EXPECT_EQ(status.message(),
              "write 'blkdebug0' at 512 (injected at write_aio): Input/output error");
    MILLRACE_RETURN_IF_ERROR(disk_->CoRead(512, IoVector(data_, 1)));
    EXPECT_EQ(data_[0], 0);
    return absl::OkStatus();
  });
}

TEST_F(FaultInjection, OnceMeansOnceAndNeverAgain) {
  Run({.inject = {{.event = "write_aio", .once = true}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), EIO);
        EXPECT_EQ(CoWriteAt(filter, 0), 0);
        return absl::OkStatus();
      });
}

// As in QEMU, where it is so because errors are told by 0 or less.
TEST_F(FaultInjection, ARuleWithoutAnErrorLetsPassWhatLaterRulesWouldMeet) {
  Run({.inject = {{.event = "write_aio", .error_number = 0, .sector = 0, .once = true},
                  {.event = "write_aio"}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), 0);
        EXPECT_EQ(CoWriteAt(filter, 0), 0) << "it is not used up";
        EXPECT_EQ(CoWriteAt(filter, 1024), EIO);
        return absl::OkStatus();
      });
}

TEST_F(FaultInjection, ASectorIsHitByTheRequestsThatCoverIt) {
  Run({.inject = {{.event = "write_aio", .sector = 3}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), 0);           // sectors 0 and 1
        EXPECT_EQ(CoWriteAt(filter, 1024), EIO);      // 2 and 3
        EXPECT_EQ(CoWriteAt(filter, 1536), EIO);      // 3 and 4
        EXPECT_EQ(CoWriteAt(filter, 1536 + 512), 0);  // 4 and 5
        EXPECT_EQ(CoFlushOf(filter), 0) << "a flush has no sectors";
        return absl::OkStatus();
      });
  EXPECT_TRUE(MakeFaultInjectionDriver({.inject = {{.event = "none", .sector = UINT64_MAX}}}).ok());
}

TEST_F(FaultInjection, IoTypesChooseAmongRequests) {
  Run({.inject = {{.event = "none", .error_number = EPERM, .io_types = kFaultFlush},
                  {.event = "none", .error_number = ENOSPC, .io_types = kFaultWriteZeroes}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), 0);
        EXPECT_EQ(CoReadAt(filter, 0), 0);
        EXPECT_EQ(CoFlushOf(filter), EPERM);
        EXPECT_EQ(ErrnoOrZero(filter.CoWriteZeroes(ByteRange(0, 512), {})), ENOSPC);
        EXPECT_EQ(ErrnoOrZero(filter.CoDiscard(ByteRange(0, 512))), 0);
        return absl::OkStatus();
      });
}

TEST_F(FaultInjection, TheFirstMatchingRuleWins) {
  Run({.inject = {{.event = "write_aio", .error_number = ENOSPC, .once = true},
                  {.event = "write_aio", .error_number = EIO}}},
      [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), ENOSPC);
        EXPECT_EQ(CoWriteAt(filter, 0), EIO);
        return absl::OkStatus();
      });
}

TEST_F(FaultInjection, TheStateMachinePicksTheSecondFlush) {
  auto options = ParseFaultInjectionConfig(R"(
      # the second flush fails, once
      [set-state]
      event = "flush_to_disk"
      state = "1"
      new_state = "2"
      [set-state]
      event = flush_to_disk
      state = 2
      new_state = 3

      [inject-error]
      event = "flush_to_disk"
      state = "2"
      errno = "28"
      once = "on"
      immediately = "on"
  )");
  ASSERT_TRUE(options.ok()) << options.status();
  Run(*std::move(options), [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
    EXPECT_EQ(CoFlushOf(filter), 0);
    EXPECT_EQ(CoFlushOf(filter), ENOSPC);
    EXPECT_EQ(CoFlushOf(filter), 0);
    return absl::OkStatus();
  });
}

TEST_F(FaultInjection, OnlyImmediateErrorsComeWithoutSuspending) {
  for (const bool immediately : {true, false}) {
    Run({.inject = {{.event = "none", .immediately = immediately}}},
        [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
          TaskScope scope("test");
          bool other_ran = false;
          scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND { other_ran = true; });
          EXPECT_EQ(ErrnoOrZero(filter.CoFlush()), EIO);
          EXPECT_EQ(other_ran, !immediately);
          return scope.CoJoin();
        });
  }
}

TEST_F(FaultInjection, ChildPermissionsCanBeTakenAndWithheld) {
  auto filter = MakeFaultInjectionDriver(
      {.take_child_permissions = kWrite, .unshare_child_permissions = kResize});
  ASSERT_TRUE(filter.ok());
  EXPECT_EQ((*filter)->DerivePermissions(
                {.role = Role::kFiltered, .parents = {kConsistentRead, kAllPermissions}}),
            (Permissions{kConsistentRead | kWrite, kAllPermissions - kResize}));
}

TEST_F(FaultInjection, RulesThatMakeNoSenseAreRefused) {
  EXPECT_EQ(MakeFaultInjectionDriver({.inject = {{.event = "wriet_aio"}}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      MakeFaultInjectionDriver({.inject = {{.event = "none", .error_number = -1}}}).status().code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      MakeFaultInjectionDriver({.set_state = {{.event = "none", .new_state = 0}}}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

// ---- Break points -------------------------------------------------------------------------------

TEST_F(FaultInjection, ABreakPointHoldsOneRequestUntilItIsResumed) {
  auto breaks = std::make_shared<BreakPoints>();
  std::vector<std::string> order;
  Event one_is_done("one is done");
  Run({.break_points = breaks}, [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(breaks->Add("write_aio", "A").ok());
    TaskScope scope("test");
    for (const std::string name : {"first", "second"}) {
      scope.Spawn("guest", [&, name]() MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(CoWriteAt(filter, 0), 0);
        order.push_back(name);
        one_is_done.Set();
      });
    }
    breaks->CoWaitSuspended("A");
    one_is_done.CoWait();
    EXPECT_TRUE(breaks->IsSuspended("A"));
    EXPECT_TRUE(breaks->Resume("A").ok());
    EXPECT_FALSE(breaks->IsSuspended("A"));
    EXPECT_EQ(breaks->Resume("A").code(), absl::StatusCode::kNotFound);
    return scope.CoJoin();
  });
  EXPECT_EQ(order, (std::vector<std::string>{"second", "first"}));
}

TEST_F(FaultInjection, RemovingATagFreesItsRequestsAndItsBreakPoints) {
  auto breaks = std::make_shared<BreakPoints>();
  Run({.break_points = breaks}, [&](FilterDriver& filter) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(breaks->Add("write_aio", "A").ok());
    EXPECT_TRUE(breaks->Add("write_aio", "A").ok());
    EXPECT_TRUE(breaks->Add("read_aio", "A").ok());
    TaskScope scope("test");
    for (int i = 0; i < 2; ++i) {
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { EXPECT_EQ(CoWriteAt(filter, 0), 0); });
    }
    breaks->CoWaitSuspended("A");
    CoYield();
    EXPECT_TRUE(breaks->Remove("A").ok());
    EXPECT_EQ(breaks->Remove("A").code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(CoReadAt(filter, 0), 0);
    EXPECT_EQ(breaks->Add("no_such_event", "A").code(), absl::StatusCode::kInvalidArgument);
    return scope.CoJoin();
  });
}

TEST_F(FaultInjection, ADeadlockReportNamesTheTag) {
  auto breaks = std::make_shared<BreakPoints>();
  EXPECT_TRUE(breaks->Add("flush_to_disk", "forgotten").ok());
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { breaks->CoReach("flush_to_disk"); });
  EXPECT_FALSE(engine_->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_NE(engine_->scheduler().FindDeadlock().value_or("").find("break point 'forgotten'"),
            std::string::npos);
  EXPECT_TRUE(breaks->Resume("forgotten").ok());
  EXPECT_TRUE(engine_->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_TRUE(scope.Finish().ok());
}

// ---- The configuration file ---------------------------------------------------------------------

TEST(FaultInjectionConfig, ReadsEveryKey) {
  auto options = ParseFaultInjectionConfig(
      "[inject-error]\nevent = \"cow_write\"\nstate=\"5\"\nerrno = \"28\"\nsector = \"77\"\r\n"
      "once = \"on\"\nimmediately = \"off\"\niotype = \"write-zeroes\"\n"
      "[inject-error]\nevent = none\nsector = -1");
  ASSERT_TRUE(options.ok()) << options.status();
  ASSERT_EQ(options->inject.size(), 2u);
  const FaultInjectRule& rule = options->inject[0];
  EXPECT_EQ(rule.event, "cow_write");
  EXPECT_EQ(rule.state, 5u);
  EXPECT_EQ(rule.error_number, 28);
  EXPECT_EQ(rule.sector, 77u);
  EXPECT_TRUE(rule.once);
  EXPECT_FALSE(rule.immediately);
  EXPECT_EQ(rule.io_types, kFaultWriteZeroes);
  EXPECT_FALSE(options->inject[1].sector.has_value());
  EXPECT_TRUE(ParseFaultInjectionConfig("").ok());
  options = ParseFaultInjectionConfig("[inject-error]\nevent = none\niotype = block-status");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->inject[0].io_types, kFaultMap);
}

TEST(FaultInjectionConfig, NamesTheLineThatIsWrong) {
  struct Row {
    std::string text;
    std::string error;
  };
  const Row rows[] = {
      {"\n[inject]", "line 2: the section '[inject]' is unknown"},
      {"event = \"none\"", "line 1: the key 'event' stands before any [section]"},
      {"[inject-error]\nevent", "line 2: the text 'event' is neither"},
      {"[inject-error]\nevent=\"nil\"", "line 2: the event 'nil' does not exist"},
      {"[inject-error]\nerrno=\"x\"", "line 2: errno 'x' is no number from 0 to 4095"},
      {"[inject-error]\nerrno=\"4096\"", "line 2: errno '4096' is no number"},
      {"[inject-error]\nsector=\"-2\"", "line 2: sector '-2' is no number"},
      {"[inject-error]\nonce=\"yes\"", "line 2: once 'yes' is neither on nor off"},
      {"[inject-error]\niotype=\"trim\"", "line 2: iotype 'trim' is not read"},
      {"[inject-error]\nnew_state=\"1\"", "line 2: the key 'new_state' is unknown in [inject"},
      {"[set-state]\nerrno=\"1\"", "line 2: the key 'errno' is unknown in [set-state]"},
      {"#\n[set-state]\nstate=\"1\"\n\n", "line 2: the section '[set-state]' has no event"},
      {"[inject-error]\n[set-state]", "line 1: the section '[inject-error]' has no event"},
  };
  for (const Row& row : rows) {
    const absl::Status status = ParseFaultInjectionConfig(row.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.text;
    EXPECT_NE(std::string(status.message()).find(row.error), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace millrace::fault_injection_test
