// Section E: the backing file's read at 512 K fails once; what becomes of the job is its policy.
//
//   test.img (qcow2, drive0) <- backing.img (raw, through blkdebug); 2 M, all of it in backing.img.
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/machine.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr uint64_t kFailsAt = 512 * 1024;
constexpr uint64_t kBytes = 4 * kFailsAt;

void CoStartWithFault(Machine& m, int error_number) MILLRACE_MAY_SUSPEND {
  m.CoCreate({.name = "backing.img", .format = "raw", .bytes = kBytes});
  m.CoFill("backing.img", 1, 0, kBytes);
  m.WriteText("blkdebug.conf",
              StrCat("[inject-error]\nevent = \"read_aio\"\nerrno = \"", error_number,
                     "\"\nonce = \"on\"\nsector = \"", kFailsAt / 512, "\"\n"));
  m.CoCreate({.name = "test.img",
              .bytes = kBytes,
              .backing = StrCat("blkdebug:", m.Path("blkdebug.conf"), ":", m.Path("backing.img")),
              .backing_format = "raw"});
  NodeTree test;
  test.driver = "qcow2";
  test.node_name = "test";
  test.filename = m.Path("test.img");
  NodeTree base;  // the rest of what it is stands in the header
  base.node_name = "base";
  test.children.push_back({"backing", "", std::make_unique<NodeTree>(std::move(base))});
  m.CoOpenDrive(std::move(test));
}

void CoStopsAndGoesOn(Machine& m, JobIoStatus status) MILLRACE_MAY_SUSPEND {
  m.CoTellsError("drive0", ErrorAction::kStop);
  m.CoWaitFor("drive0", JobState::kPaused);
  const JobInfo stopped = m.Query("drive0");
  m.Expect(stopped.is_pause_requested && stopped.current == kFailsAt && stopped.io_status == status,
           "the job should have stopped where it failed");
  m.Resume("drive0");
  m.Expect(m.Query("drive0").io_status == JobIoStatus::kOk, "resuming should clear the status");
  m.CoEndWell({"drive0"});
  m.ExpectChain("test");
  m.CoPowerOff();
  m.CoExpectSameMap("test.img", "backing.img");
}

void CoReport(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithFault(m, EIO);
  m.CoStart(Stream{.device = "drive0", .on_error = OnError::kReport});
  m.CoTellsError("drive0", ErrorAction::kReport);
  m.CoEndsWithError("drive0", "Input/output error", kFailsAt);
}

// An error that was ignored still is the job's error in the end.
void CoIgnore(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithFault(m, EIO);
  m.CoStart(Stream{.device = "drive0", .on_error = OnError::kIgnore});
  m.CoTellsError("drive0", ErrorAction::kIgnore);
  m.CoEndsWithError("drive0", "Input/output error", kBytes);
}

void CoStop(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithFault(m, EIO);
  m.CoStart(Stream{.device = "drive0", .on_error = OnError::kStop});
  CoStopsAndGoesOn(m, JobIoStatus::kFailed);
}

void CoEnospcReportsOthers(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithFault(m, EIO);
  m.CoStart(Stream{.device = "drive0", .on_error = OnError::kEnospc});
  m.CoTellsError("drive0", ErrorAction::kReport);
  m.CoEndsWithError("drive0", "Input/output error", kFailsAt);
}

void CoEnospc(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartWithFault(m, ENOSPC);
  m.CoStart(Stream{.device = "drive0", .on_error = OnError::kEnospc});
  CoStopsAndGoesOn(m, JobIoStatus::kNoSpace);
}

}  // namespace

absl::Span<const Case> ErrorCases() {
  static constexpr Case kCases[] = {
      {'E', "report", &CoReport}, {'E', "ignore", &CoIgnore},
      {'E', "stop", &CoStop},     {'E', "enospc_reports_others", &CoEnospcReportsOthers},
      {'E', "enospc", &CoEnospc},
  };
  return kCases;
}

}  // namespace millrace
