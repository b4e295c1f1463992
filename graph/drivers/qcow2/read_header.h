// Reading the header of an image file. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_READ_HEADER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_READ_HEADER_H_

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace::qcow2 {

// Reads, parses and validates (ValidateHeader). Errors name the file.
absl::StatusOr<Header> CoReadHeader(ImageFile& file, HeaderUse use) MILLRACE_MAY_SUSPEND;

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_READ_HEADER_H_
