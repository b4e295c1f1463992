// Making a new image file on the host, and checking or describing one that is there, by path.
//
// All of these open what they need, and close it before they return, also on errors. None of them
// opens a backing or data file that a header names; that is what CoOpenImage is for. Home thread.
// Making an image, and a check that is_cancellable, end with CancelledError if the coroutine's
// scope is cancelled; the text says what the file is then.
#ifndef MILLRACE_GRAPH_IMAGE_TOOLS_H_
#define MILLRACE_GRAPH_IMAGE_TOOLS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/drivers/qcow2/qcow2_check.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "millrace/graph/graph.h"

namespace millrace {

struct CreateImageOptions {
  std::string path{};
  // "qcow2" or "raw".
  std::string format = "qcow2";
  // The size of a raw image is `qcow2.bytes` too; its other options are for qcow2 only.
  Qcow2CreateOptions qcow2{};
  // What to do if the file exists: empty it first, or refuse.
  bool overwrites = false;
};

// Makes the image. AlreadyExists: the file exists; FailedPrecondition (kImageLocked): it is in use;
// InvalidArgument: an option is out of its range, or CoOpenImage would refuse what was made: a
// backing file without its format (kMissingFormat) or of a format that the registry does not know
// (kUnknownFormat), or an overlay of 0 bytes. The backing file itself is not looked at. A new file
// that could not be finished is left behind: the library removes no files.
absl::Status CoCreateImage(Graph& graph, const DriverRegistry& registry,
                           const CreateImageOptions& options) MILLRACE_MAY_SUSPEND;

// What CoCreateImage() would refuse without looking at the host.
absl::Status CheckCreateImage(const DriverRegistry& registry, const CreateImageOptions& options);

struct ImagePathOptions {
  std::string path{};
  std::string format{};  // empty: guessed, "qcow2" or "raw"
  // Look at an image that somebody has open for writing; what is seen may be half of a change.
  bool ignores_locks = false;
  bool direct = false;  // past the host's page cache (O_DIRECT)
};

struct ImageDescription {
  std::string format;
  uint64_t bytes = 0;            // virtual size
  uint64_t file_bytes = 0;       // length of the file
  uint64_t allocated_bytes = 0;  // what it takes on the host
  BackingReference backing;      // as in the header, not resolved
  std::optional<Qcow2Info> qcow2;
};

// Reads the image's header; never writes.
absl::StatusOr<ImageDescription> CoDescribeImage(Graph& graph, const DriverRegistry& registry,
                                                 const ImagePathOptions& options)
    MILLRACE_MAY_SUSPEND;

// Checks a qcow2 image; opens it for writing only if a repair is asked for. Unimplemented for raw
// images, which have nothing to check.
absl::StatusOr<Qcow2CheckResult> CoCheckImage(Graph& graph, const DriverRegistry& registry,
                                              const ImagePathOptions& options,
                                              const Qcow2CheckOptions& check) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IMAGE_TOOLS_H_
