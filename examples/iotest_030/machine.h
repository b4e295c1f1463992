// Machine: the world of one case: images in a folder, a drive with a guest's device above them, and
// block jobs; told what to do in the words of the case.
//
//   machine.CoStart(Stream{.device = "node4", .base = "img-1", .speed = kSlow});
//   machine.CoRefuses(Stream{.device = "node5", .base = "img-2"}, "Node 'stream-filter' is busy
//   ..."); machine.LetGo({"node4"}); machine.CoEndsWell("node4");
//
// The first thing that is not as it should be is kept (Minutes), and from then on nothing is done
// any more: a case needs no checks of its own. Nothing here waits for time to pass: jobs are held
// by a speed that lets nothing through, or at break points of the drive's file, and watched by
// their events.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_MACHINE_H_
#define MILLRACE_EXAMPLES_IOTEST_030_MACHINE_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/iotest_030/image_files.h"
#include "examples/iotest_030/job_log.h"
#include "examples/iotest_030/minutes.h"
#include "examples/iotest_030/requests.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/filters/break_points.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

constexpr uint64_t kMiB = 1024 * 1024;

class Machine {
 public:
  struct Parts {
    Graph& graph;
    JobManager& jobs;
    JobLog& log;
    const DriverRegistry& registry;
    Minutes& minutes;
  };
  Machine(Parts parts, std::string folder, bool asks_qemu, uint64_t seed)
      : parts_(parts),
        files_(parts.graph, parts.registry, std::move(folder), asks_qemu),
        random_(seed, "iotest_030") {}

  // ---- Images ------------------------------------------------------------------------------------
  void CoCreate(const NewImage& image) MILLRACE_MAY_SUSPEND;
  void CoFill(const std::string& image, uint8_t pattern, uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND;
  void WriteText(const std::string& name, std::string_view text);
  std::string Path(std::string_view name) const { return files_.Path(name); }
  uint64_t Random(uint64_t below) { return random_.Below(below); }

  // ---- The drive, and nodes beside it ------------------------------------------------------------
  // Opens the tree and plugs it into a guest's device, which writes: "drive0".
  void CoOpenDrive(NodeTree tree) MILLRACE_MAY_SUSPEND;
  // A node that the user owns.
  void CoAddNode(NodeTree tree) MILLRACE_MAY_SUSPEND;
  void CoRemoveNode(const std::string& name) MILLRACE_MAY_SUSPEND;
  // The guest writes some bytes and flushes.
  void CoGuestWrites(uint8_t pattern, uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // The next read and the next write of the drive's own file stand still, until Release().
  void Hold();
  void CoWaitUntilHeld() MILLRACE_MAY_SUSPEND;
  void Release();

  // ---- Jobs --------------------------------------------------------------------------------------
  void CoStart(const Stream& stream) MILLRACE_MAY_SUSPEND;
  void CoStart(const Commit& commit) MILLRACE_MAY_SUSPEND;
  // The request is refused with exactly this text.
  void CoRefuses(const Stream& stream, std::string_view text) MILLRACE_MAY_SUSPEND;
  void CoRefuses(const Commit& commit, std::string_view text) MILLRACE_MAY_SUSPEND;
  void SetSpeed(const std::string& id, int64_t bytes_per_second);
  void SetSpeedIsRefused(const std::string& id, int64_t bytes_per_second, std::string_view text);
  // No limit any more; the order of several is drawn from the seed.
  void LetGo(std::vector<std::string> ids);
  void Pause(const std::string& id);
  void Resume(const std::string& id);
  void Cancel(const std::string& id);
  void CoCompleteWhenReady(const std::string& id) MILLRACE_MAY_SUSPEND;
  void CoWaitFor(const std::string& id, JobState state) MILLRACE_MAY_SUSPEND;
  JobInfo Query(const std::string& id);

  // ---- What must hold ----------------------------------------------------------------------------
  // They end, without an error and with all done, in whatever order.
  void CoEndWell(std::initializer_list<std::string> ids) MILLRACE_MAY_SUSPEND;
  // The end of a job that fails, and what it has told before: its error's action.
  void CoEndsWithError(const std::string& id, std::string_view error, uint64_t offset)
      MILLRACE_MAY_SUSPEND;
  void CoEndsCancelled(const std::string& id) MILLRACE_MAY_SUSPEND;
  void CoTellsError(const std::string& id, ErrorAction action) MILLRACE_MAY_SUSPEND;
  void ExpectNoJob();
  void ExpectOnlyStatusEventsSoFar();
  // "node8 <- node7 ...", the nodes below the drive.
  void ExpectChain(std::string_view chain) MILLRACE_OPENS_VIEW;
  void Expect(bool holds, std::string_view what);

  // ---- Afterwards --------------------------------------------------------------------------------
  // Ends everything; from here on the images can be looked at.
  void CoPowerOff() MILLRACE_MAY_SUSPEND;
  void CoExpectSameMap(const std::string& a, const std::string& b) MILLRACE_MAY_SUSPEND;
  void CoExpectEmptyMap(const std::string& image) MILLRACE_MAY_SUSPEND;
  void CoExpectShows(const std::string& image, uint8_t pattern, uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND;
  // Checks of every case, at its very end: no job, nothing in the graph, healthy images.
  void CoFinish() MILLRACE_MAY_SUSPEND;

 private:
  bool is_off_track() const { return parts_.minutes.has_failed(); }
  void Check(std::string_view what, const absl::Status& status);
  std::string Chain() MILLRACE_OPENS_VIEW;
  absl::StatusOr<Attachment> CoOpen(NodeTree tree) MILLRACE_MAY_SUSPEND;
  absl::Status CoPlugIn(NodeTree tree) MILLRACE_MAY_SUSPEND;
  absl::Status CoTry(const Stream& stream) MILLRACE_MAY_SUSPEND;
  absl::Status CoTry(const Commit& commit) MILLRACE_MAY_SUSPEND;
  void Accepted(const std::string& asked, const absl::Status& status);
  void Refused(const std::string& asked, const absl::Status& status, std::string_view text);

  Parts parts_;
  ImageFiles files_;
  RandomStream random_;
  Attachment drive_;
  std::map<std::string, Attachment> nodes_;
  std::shared_ptr<BreakPoints> break_points_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_MACHINE_H_
