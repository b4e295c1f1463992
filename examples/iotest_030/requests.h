// What a user asks for, with names as a user has them: devices and nodes by name, images by the
// name of their file. Turned into the library's options, which know nodes only.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_REQUESTS_H_
#define MILLRACE_EXAMPLES_IOTEST_030_REQUESTS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {

// So slow that a job which has copied its first piece stands still until its speed is changed: the
// cases need jobs that run, not jobs that take a certain time.
inline constexpr int64_t kSlow = 1024;

struct Stream {
  std::string device;          // a device or a node
  std::string base = "";       // a file: "img-2"
  std::string base_node = "";  // a node
  std::string bottom = "";     // a node
  std::string id = "";         // empty: the device's name
  std::string filter = "";
  OnError on_error = OnError::kReport;
  int64_t speed = 0;
};

struct Commit {
  std::string device;
  std::string top = "";   // a file; empty: the device's own image
  std::string base = "";  // a file
  std::string id = "";
  std::string filter = "";
  int64_t speed = 0;
};

// "stream node4, base img-1, filter stream-filter, slow".
std::string InWords(const Stream& stream);
std::string InWords(const Commit& commit);

// Refusals as of the library: kUnknownNode, kMutuallyExclusive, kNotInChain.
absl::StatusOr<StreamOptions> Resolve(Graph& graph, const Stream& stream) MILLRACE_OPENS_VIEW;
absl::StatusOr<CommitOptions> Resolve(Graph& graph, const Commit& commit) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_REQUESTS_H_
