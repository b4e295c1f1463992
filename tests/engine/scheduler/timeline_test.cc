#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace::timeline_test {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

class SpanLog final : public EngineObserver {
 public:
  void OnSpan(const TimelineSpan& span) override {
    EXPECT_LE(span.begin, span.end);
    const bool is_io = span.kind == TimelineSpan::Kind::kIo;
    lines.push_back((is_io ? "io " : "step ") + std::string(span.name) + " " +
                    std::string(span.detail) + (is_io ? " " + std::to_string(span.result) : ""));
  }
  std::vector<std::string> lines;
};

class Timeline : public ::testing::Test {
 protected:
  Timeline() {
    Engine::Options options;
    options.simulated = true;
    options.observer = &log_;
    engine_ = *Engine::Create(options);
  }
  void RunSomething() {
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      TaskScope scope("work");
      scope.Spawn("sleeper", []() MILLRACE_MAY_SUSPEND { return CoSleepFor(kMillisecond); });
      IoRequest request;
      request.opcode = IoOpcode::kMemory;
      request.label = "img-3";
      request.apply = [](IoRequest& applied) { applied.result = 7; };
      CoSubmit(engine_->io(), request);
      return scope.CoJoin();
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  SpanLog log_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Timeline, NothingIsToldUnlessItIsOn) {
  RunSomething();
  EXPECT_THAT(log_.lines, IsEmpty());
}

TEST_F(Timeline, StepsAndIoAreToldByName) {
  engine_->SetTimeline(true);
  RunSomething();
  EXPECT_THAT(log_.lines, Contains("step main start"));
  EXPECT_THAT(log_.lines, Contains("step sleeper start"));
  EXPECT_THAT(log_.lines, Contains("io img-3 memory 7"));
}

TEST_F(Timeline, MayBeTurnedOnAndOffInTheMiddleOfAStep) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    engine_->SetTimeline(true);
    absl::Status slept = CoSleepFor(kMillisecond);
    engine_->SetTimeline(false);
    slept.Update(CoSleepFor(kMillisecond));
    return slept;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(log_.lines, IsEmpty());
}

TEST_F(Timeline, WaitsAreToldAsData) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    TaskScope scope("work");
    absl::Status slept = CoSleepFor(kSecond);
    const Nanoseconds began = engine_->clock().Now();
    scope.Spawn("sleeper", []() MILLRACE_MAY_SUSPEND { return CoSleepFor(kSecond); });
    slept.Update(CoSleepFor(kMillisecond));
    const std::vector<CoroutineWait> waits = engine_->scheduler().Waits();
    EXPECT_EQ(waits.size(), 2u);
    EXPECT_EQ(waits.back().name, "sleeper");
    EXPECT_FALSE(waits.back().can_run);
    EXPECT_FALSE(waits.back().yield_point.empty());
    EXPECT_EQ(waits.back().since, began);
    EXPECT_EQ(engine_->clock().Now(), began + kMillisecond);
    scope.Cancel();
    scope.CoJoin().IgnoreError();
    return slept;
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace millrace::timeline_test
