// Device threads that do I/O through ports of a real engine, over real images.
#include "millrace/graph/guest_port.h"

#include <poll.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_node.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/guest_device.h"
#include "tests/support/temporary_folder.h"

namespace millrace::guest_port_threads_test {
namespace {

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

constexpr size_t kDevices = 2;
constexpr size_t kSlots = 6;
constexpr uint64_t kDeviceBytes = kSlots * GuestDevice::kSlotBytes;

struct Case {
  IoBackendKind io;
  std::string format;
};

class GuestPortThreads : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!IsAvailable(GetParam().io)) GTEST_SKIP() << "this host refuses io_uring";
    engine_ = RealEngine(GetParam().io);
    graph_ = std::make_unique<Graph>(*engine_);
    ASSERT_TRUE(RegisterBuiltinDrivers(registry_).ok());
  }

  // Makes an image, opens it, attaches a guest and a reader.
  absl::Status CoOpen() MILLRACE_MAY_SUSPEND {
    CreateImageOptions create;
    create.path = folder_.File("disk");
    create.format = GetParam().format;
    create.qcow2.bytes = kDevices * kDeviceBytes;
    create.qcow2.cluster_bytes = 512;
    MILLRACE_RETURN_IF_ERROR(CoCreateImage(*graph_, registry_, create));
    OpenImageOptions open;
    open.path = create.path;
    open.format = create.format;
    MILLRACE_ASSIGN_OR_RETURN(image_, CoOpenImage(*graph_, registry_, open));
    AttachmentOptions options;
    options.holder = MakeHolder("drive0", "block device");
    options.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
    MILLRACE_ASSIGN_OR_RETURN(guest_, Attachment::Attach(*graph_, image_.top(), options));
    options.holder = MakeHolder("reader", "test");
    options.permissions = {kConsistentRead, kConsistentRead | kWrite | kWriteUnchanged | kResize};
    MILLRACE_ASSIGN_OR_RETURN(reader_, Attachment::Attach(*graph_, image_.top(), options));
    port_ = guest_.guest_port();
    return absl::OkStatus();
  }

  void CoClose() MILLRACE_MAY_SUSPEND {
    const absl::Status invariants = graph_->CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
    guest_.CoDetach();
    reader_.CoDetach();
    image_.holds.clear();
    graph_->CoClose();
  }

  // Puts a filter above the disk and takes it out again, `times` times.
  absl::Status CoEdit(int times) MILLRACE_MAY_SUSPEND {
    const HolderRef editor = MakeHolder("editor", "test");
    for (int i = 0; i < times; ++i) {
      NodeId filter;
      {
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(*graph_, {image_.top()}, {editor}));
        {
          GraphTransaction change(*graph_);
          change.Show(drained);
          filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "pass"});
          change.InsertFilter(filter, image_.top());
          MILLRACE_RETURN_IF_ERROR(change.Commit().status());
        }
        MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
      }
      CoYield();
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {filter}, {editor}));
      GraphTransaction change(*graph_);
      change.Show(drained).RemoveFilter(filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    return absl::OkStatus();
  }

  // A device with a thread of its own, which submits and gets its completions.
  struct DeviceThread {
    std::unique_ptr<GuestCompletions> completions;
    std::unique_ptr<GuestDevice> device;
    std::thread thread;
  };
  void StartDevices(int rounds) {
    devices_.resize(kDevices);
    for (size_t i = 0; i < kDevices; ++i) {
      DeviceThread& each = devices_[i];
      each.completions = *GuestCompletions::Create();
      each.device = std::make_unique<GuestDevice>(
          port_, GuestDevice::Options{.slots = kSlots,
                                      .rounds = rounds,
                                      .first_byte = i * kDeviceBytes,
                                      .completions = each.completions.get()});
      each.thread = std::thread([&device = *each.device, &engine = *engine_] {
        device.Start();
        EXPECT_TRUE(device.RunOnThisThread()) << "a completion was lost";
        engine.Post([] {});  // whoever drives it may look whether we are done
      });
    }
  }
  void JoinDevices() {
    for (DeviceThread& each : devices_) {
      each.thread.join();
      EXPECT_EQ(each.device->submitted(), each.device->completed() + each.device->cancelled());
      EXPECT_EQ(each.device->failure(), "");
    }
  }
  bool are_devices_done() const {
    for (const DeviceThread& each : devices_) {
      if (!each.device->is_done()) return false;
    }
    return true;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
  DriverRegistry registry_;
  OpenedImage image_;
  Attachment guest_;
  Attachment reader_;
  GuestPort port_;
  std::vector<DeviceThread> devices_;
};

TEST_P(GuestPortThreads, TwoThreadsMatchTheirModelsUnderDrainsAndEdits) {
  absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoOpen(); });
  ASSERT_TRUE(status.ok()) << status;
  StartDevices(/*rounds=*/60);
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoEdit(40); });
  EXPECT_TRUE(status.ok()) << status;
  // The home thread sleeps in between, until a device's thread rings.
  while (!are_devices_done()) {
    status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoEdit(1); });
    EXPECT_TRUE(status.ok()) << status;
  }
  JoinDevices();
  for (const DeviceThread& each : devices_) {
    EXPECT_EQ(each.device->completed(), static_cast<int>(kSlots) * 60);
  }
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const DeviceThread& each : devices_) {
      MILLRACE_RETURN_IF_ERROR(each.device->CoVerify(reader_));
    }
    CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(GuestPortThreads, AForeignLoopServesThemAndIsLeftAloneAfterwards) {
  constexpr int kLimitMs = 60'000;  // a lost wake-up fails the test instead of hanging it
  absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoOpen(); });
  ASSERT_TRUE(status.ok()) << status;
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("editor", [&]() MILLRACE_MAY_SUSPEND { return CoEdit(10); });
  StartDevices(/*rounds=*/40);
  pollfd wanted = {engine_->PollFd(), POLLIN, 0};
  while (scope.live() > 0 || !are_devices_done()) {
    if (engine_->PollOnce()) continue;
    if (scope.live() == 0 && are_devices_done()) break;
    EXPECT_EQ(engine_->NextDeadline(), kNever) << "nothing here waits for a time";
    ASSERT_NE(poll(&wanted, 1, kLimitMs), 0) << "a wake-up was lost";
  }
  JoinDevices();
  EXPECT_TRUE(scope.Finish().ok());
  // Nothing is left to do, so the descriptor is quiet after the last ring was answered.
  for (int i = 0; i < 10 && poll(&wanted, 1, 0) != 0; ++i) engine_->PollOnce();
  EXPECT_EQ(poll(&wanted, 1, 0), 0) << "an idle engine keeps its host awake";
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const DeviceThread& each : devices_) {
      MILLRACE_RETURN_IF_ERROR(each.device->CoVerify(reader_));
    }
    CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(GuestPortThreads, DetachingUnderFireLosesNoRequestAndDoesNoCancelledOne) {
  absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoOpen(); });
  ASSERT_TRUE(status.ok()) << status;
  StartDevices(/*rounds=*/1'000'000);
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    while (devices_[0].device->completed() < 50) CoYield();
    MILLRACE_RETURN_IF_ERROR(CoEdit(1));
    guest_.CoDetach();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  JoinDevices();
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const DeviceThread& each : devices_) {
      MILLRACE_RETURN_IF_ERROR(each.device->CoVerify(reader_));
    }
    CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(GuestPortThreads, ThreadsMayAskThePortWhileAndAfterItsEngineGoes) {
  absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoOpen(); });
  ASSERT_TRUE(status.ok()) << status;
  std::atomic<bool> has_begun = false;
  std::atomic<bool> is_refused = false;
  std::atomic<int> left = 0;
  std::thread thread([port = port_, &has_begun, &is_refused, &left] {
    // Flushes need no memory and no answer but their count.
    std::vector<std::unique_ptr<GuestRequest>> requests;
    for (;;) {
      requests.push_back(std::make_unique<GuestRequest>());
      GuestRequest& request = *requests.back();
      request.operation = GuestOperation::kFlush;
      request.context = &left;
      request.completion = [](GuestRequest& done) {
        --*static_cast<std::atomic<int>*>(done.context);
      };
      ++left;
      if (!port.Submit(request)) break;
      has_begun = true;
    }
    --left;
    is_refused = true;
    while (left > 0) std::this_thread::yield();  // the requests' memory is theirs until then
    for (int i = 0; i < 1000; ++i) EXPECT_FALSE(port.Submit(*requests.back()));
  });
  status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    while (!has_begun) CoYield();
    CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  graph_.reset();
  engine_.reset();
  thread.join();
  EXPECT_TRUE(is_refused);
  EXPECT_EQ(left, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Backends, GuestPortThreads,
    ::testing::Values(Case{IoBackendKind::kThreads, "raw"}, Case{IoBackendKind::kThreads, "qcow2"},
                      Case{IoBackendKind::kIoUring, "raw"}, Case{IoBackendKind::kIoUring, "qcow2"}),
    [](const auto& parameter) {
      return (parameter.param.io == IoBackendKind::kThreads ? "Threads_" : "Uring_") +
             parameter.param.format;
    });

}  // namespace
}  // namespace millrace::guest_port_threads_test
