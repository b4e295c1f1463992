// WholeFile: a file of the host as one sequence of bytes, for work on an image from outside: making
// it, checking it, describing it.
//
// It is a file node in the graph with one user, so that image locks and drains hold for it as for
// everything else. No format stands above it: whoever writes through it must be alone with the
// file, and its permissions see to that (others may read what does not change).
#ifndef MILLRACE_GRAPH_WHOLE_FILE_H_
#define MILLRACE_GRAPH_WHOLE_FILE_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/open_file.h"

namespace millrace {

class WholeFile final : public ImageFile {
 public:
  // Errors as of CoOpenFileNode; FailedPrecondition (kImageLocked) if somebody else has the file
  // open in a way that excludes this use.
  static absl::StatusOr<std::unique_ptr<WholeFile>> CoOpen(Graph& graph,
                                                           const DriverRegistry& registry,
                                                           const OpenFileOptions& options)
      MILLRACE_MAY_SUSPEND;
  // Closes the file and waits for that. Call it once, last; without it the file is closed later.
  void CoClose() MILLRACE_MAY_SUSPEND;

  std::string_view name() const override { return path_; }
  uint64_t bytes() const override { return user_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;

  // What it takes on the host, in bytes.
  absl::StatusOr<uint64_t> CoAllocatedBytes() MILLRACE_MAY_SUSPEND;
  const Attachment& user() const { return user_; }

 private:
  WholeFile(Graph& graph, std::string path, Attachment user)
      : graph_(graph), path_(std::move(path)), user_(std::move(user)) {}

  Graph& graph_;
  const std::string path_;
  Attachment user_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_WHOLE_FILE_H_
