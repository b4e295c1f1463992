#include "millrace/graph/drivers/qcow2/read_header.h"

#include <algorithm>
#include <vector>

#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace::qcow2 {
namespace {

// Nearly every header ends before, and one read, aligned for direct I/O, is all it takes.
constexpr uint64_t kUsualHeaderBytes = 4096;

absl::StatusOr<Header> CoReadUnnamed(ImageFile& file, HeaderUse use) MILLRACE_MAY_SUSPEND {
  const uint64_t file_bytes = file.bytes();
  std::vector<uint8_t> start(std::min(file_bytes, kUsualHeaderBytes));
  MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(0, absl::MakeSpan(start)));
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t cluster_bytes, HeaderClusterBytes(start));
  const uint64_t whole = std::min(file_bytes, cluster_bytes);
  if (start.size() < whole && !HoldsWholeHeader(start)) {
    const size_t have = start.size();
    start.resize(whole);
    MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(have, absl::MakeSpan(start).subspan(have)));
  }
  start.resize(std::min(start.size(), whole));
  MILLRACE_ASSIGN_OR_RETURN(Header header, ParseHeader(start));
  MILLRACE_RETURN_IF_ERROR(ValidateHeader(header, file_bytes, use));
  return header;
}

}  // namespace

absl::StatusOr<Header> CoReadHeader(ImageFile& file, HeaderUse use) {
  absl::StatusOr<Header> header = CoReadUnnamed(file, use);
  if (header.ok()) return header;
  return WithContext(header.status(), StrCat("image '", file.name(), "': "));
}

}  // namespace millrace::qcow2
