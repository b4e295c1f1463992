// CrashCase: one block job on one chain of qcow2 images, with or without a guest, as a seed
// chooses. What job_crash_story.h runs.
#ifndef MILLRACE_TESTS_SUPPORT_CRASH_CASE_H_
#define MILLRACE_TESTS_SUPPORT_CRASH_CASE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"
#include "millrace/graph/open_image.h"
#include "tests/support/job_fixture.h"

namespace millrace {

enum class CrashJob : uint8_t {
  kNone,             // the guest alone; its disk grows
  kStream,           // into the root or an image below it, down to a base or to the end
  kCommit,           // of images below the root
  kActiveCommit,     // of the root; completed
  kMirror,           // of the whole disk to an image beside it; completed
  kInsertFilter,     // above some image, and taken out again
  kStreamAndCommit,  // neighbours, at the same time: a stream of all below, a commit above it
};
inline constexpr CrashJob kCrashJobs[] = {
    CrashJob::kNone,   CrashJob::kStream,       CrashJob::kCommit,         CrashJob::kActiveCommit,
    CrashJob::kMirror, CrashJob::kInsertFilter, CrashJob::kStreamAndCommit};
std::string_view CrashJobName(CrashJob job);

struct CrashCase {
  CrashJob job = CrashJob::kNone;
  size_t layers = 4;
  size_t top = 0;               // of stream, commit, filter: a layer, 0 being the bottom one
  std::optional<size_t> base;   // of stream and commit
  bool finalizes_late = false;  // by hand, while the guest goes on
  bool has_guest = true;
  bool guest_copies = false;  // of a mirror: what the guest writes goes to the target at once
  uint64_t guest_operations = 8;
  uint64_t sectors = 128;                  // of the guest's disk
  uint64_t lowest_sectors = 128;           // of the lowest image, which may be shorter
  std::vector<Qcow2CreateOptions> images;  // bottom first; sizes and names are filled in

  static CrashCase Random(CrashJob job, uint64_t cluster_bytes, uint64_t seed);
  std::string Describe() const;
  std::string root_path() const { return PathOf(layers - 1); }
  // Where the guest's disk is once the job has moved it.
  std::string moved_path() const;
  static std::string PathOf(size_t layer) { return "img-" + std::to_string(layer); }
  static constexpr char kTargetPath[] = "target";
};

// The case's images, open: what the job works on.
struct OpenCrashCase {
  OpenedImage chain;
  std::optional<OpenedImage> target;

  // The node of the image at `path`, invalid if it is not in the chain.
  NodeId NodeOf(Graph& graph, std::string_view path) const MILLRACE_OPENS_VIEW;
  // The node that the job moves the guest's disk to; invalid if it does not.
  NodeId MovedNode(Graph& graph, const CrashCase& crash_case) const MILLRACE_OPENS_VIEW;
  void CoClose() MILLRACE_MAY_SUSPEND;
};

absl::StatusOr<OpenCrashCase> CoOpenCrashCase(Graph& graph, const DriverRegistry& registry,
                                              const CrashCase& crash_case,
                                              const std::string& root_path) MILLRACE_MAY_SUSPEND;

// Starts the case's jobs and waits until they are over. What the chain shows to have been done
// already is not started.
absl::Status CoRunCrashJobs(JobWorld& world, const CrashCase& crash_case, const OpenCrashCase& open)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CRASH_CASE_H_
