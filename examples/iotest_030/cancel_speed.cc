// Section F: cancel and speed. An 8 G sparse image with 32 M of data, over one with as much.
#include <memory>
#include <string>
#include <utility>

#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/machine.h"

namespace millrace {
namespace {

constexpr uint64_t kGiB = 1024 * kMiB;

void CoStartWithMuchToCopy(Machine& m) MILLRACE_MAY_SUSPEND {
  m.CoCreate({.name = "backing.img", .format = "raw", .bytes = 8 * kGiB});
  m.CoCreate({.name = "test.img", .bytes = 8 * kGiB, .backing = "backing.img"});
  m.CoFill("backing.img", 1, 0, 32 * kMiB);
  m.CoFill("test.img", 2, 32 * kMiB, 32 * kMiB);
  NodeTree test;
  test.driver = "qcow2";
  test.node_name = "test";
  test.filename = "blkdebug::" + m.Path("test.img");
  NodeTree base;
  base.node_name = "base";
  test.children.push_back({"backing", "", std::make_unique<NodeTree>(std::move(base))});
  m.CoOpenDrive(std::move(test));
}

void CoCancelAndRelease(Machine& m) MILLRACE_MAY_SUSPEND {
  m.Cancel("drive0");
  m.Release();
  m.CoEndsCancelled("drive0");
}

void CoStreamStop(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithMuchToCopy(m);
  m.Hold();
  m.CoStart(Stream{.device = "drive0"});
  m.CoWaitUntilHeld();
  m.ExpectOnlyStatusEventsSoFar();
  CoCancelAndRelease(m);
  m.CoPowerOff();
  m.CoExpectShows("test.img", 1, 0, kMiB);
  m.CoExpectShows("test.img", 2, 32 * kMiB, kMiB);
}

void CoSetSpeed(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithMuchToCopy(m);
  m.Hold();
  m.CoStart(Stream{.device = "drive0"});
  m.Expect(m.Query("drive0").speed == 0, "there should be no limit by default");
  m.SetSpeed("drive0", 8 * kMiB);
  m.Expect(m.Query("drive0").speed == 8 * kMiB, "the speed should be what was set");
  CoCancelAndRelease(m);
  m.Hold();
  m.CoStart(Stream{.device = "drive0", .speed = 4 * kMiB});
  m.Expect(m.Query("drive0").speed == 4 * kMiB, "the speed should be what the job started with");
  CoCancelAndRelease(m);
}

void CoSetSpeedInvalid(Machine& m) MILLRACE_MAY_SUSPEND {
  constexpr std::string_view kText = "Parameter 'speed' expects a non-negative value";
  CoStartWithMuchToCopy(m);
  m.CoRefuses(Stream{.device = "drive0", .speed = -1}, kText);
  m.ExpectNoJob();
  m.Hold();
  m.CoStart(Stream{.device = "drive0"});
  m.SetSpeedIsRefused("drive0", -1, kText);
  CoCancelAndRelease(m);
}

}  // namespace

absl::Span<const Case> CancelSpeedCases() {
  static constexpr Case kCases[] = {
      {'F', "stream_stop", &CoStreamStop},
      {'F', "set_speed", &CoSetSpeed},
      {'F', "set_speed_invalid", &CoSetSpeedInvalid},
  };
  return kCases;
}

}  // namespace millrace
