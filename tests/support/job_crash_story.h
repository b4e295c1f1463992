// A block job, a guest, and the power that fails: runs a CrashCase once on a simulated disk, then
// looks at the disks that a crash at any moment could have left (crash_images.h) and holds each
// against what must be true:
//
//   every image opens from its header alone, after the documented repair if it is marked dirty, and
//   the check finds no corruption; leaks are allowed;
//   every header names an image that is there;
//   each sector of the guest's disk holds what was last flushed, or something that was written to
//   it since;
//   of some: the library opens the chain and shows the same; the same job, started again, ends as
//   it did without the crash, and the guest's disk does not change over it.
//
// What is unusual is said as an error with the case, the point and the subset, so that a seed
// repeats it.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_CRASH_STORY_H_
#define MILLRACE_TESTS_SUPPORT_JOB_CRASH_STORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/io/sparse_image.h"
#include "tests/support/crash_case.h"
#include "tests/support/crash_images.h"

namespace millrace {

// One disk after a crash.
struct CrashedDisk {
  std::vector<std::string> paths;
  std::vector<SparseImage> files;
  std::string root_path;          // the guest's disk
  std::vector<uint64_t> sectors;  // what it shows: see SectorValue()
};

struct JobCrashOptions {
  CrashImages::Options images;
  // One in so many crash images goes through the library, job and all; 0: none.
  uint64_t restart_one_in = 500;
  // And so does the first of each kind of those that a user cannot tell apart: with equal sectors
  // in all layers, and equal chains.
  bool restarts_each_content = false;
  // One in so many is given to `on_sample`; 0: none.
  uint64_t sample_one_in = 0;
  std::function<absl::Status(const CrashedDisk&)> on_sample;
};

// By name: "runs", "crash points", "crash images" (no two alike within a run), "file states",
// "images verified", "restarts", "contents" (images that a user can tell apart, within a run).
using JobCrashCounts = std::map<std::string, uint64_t>;

// The schedule of the run, the guest and the choice of subsets are drawn from the seed.
absl::Status RunJobCrashStory(const CrashCase& crash_case, uint64_t seed,
                              const JobCrashOptions& options, JobCrashCounts& counts);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_CRASH_STORY_H_
