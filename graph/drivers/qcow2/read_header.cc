#include "millrace/graph/drivers/qcow2/read_header.h"

#include <algorithm>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace::qcow2 {
namespace {

// Where nearly every header ends; a longer one is read in a second step.
constexpr uint64_t kUsualHeaderBytes = 1024;

absl::StatusOr<Header> CoReadUnnamed(ImageFile& file, HeaderUse use) MILLRACE_MAY_SUSPEND {
  const uint64_t file_bytes = file.bytes();
  std::vector<uint8_t> start(std::min(file_bytes, kUsualHeaderBytes));
  MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(0, absl::MakeSpan(start)));
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t cluster_bytes, HeaderClusterBytes(start));
  const uint64_t wanted = std::min(file_bytes, cluster_bytes);
  if (start.size() < wanted) {
    const size_t have = start.size();
    start.resize(wanted);
    MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(have, absl::MakeSpan(start).subspan(have)));
  }
  start.resize(wanted);
  MILLRACE_ASSIGN_OR_RETURN(Header header, ParseHeader(start));
  MILLRACE_RETURN_IF_ERROR(ValidateHeader(header, file_bytes, use));
  return header;
}

}  // namespace

absl::StatusOr<Header> CoReadHeader(ImageFile& file, HeaderUse use) {
  absl::StatusOr<Header> header = CoReadUnnamed(file, use);
  if (header.ok()) return header;
  const absl::Status& status = header.status();
  absl::Status named(status.code(),
                     ToAbsl(StrCat("image '", file.name(), "': ", FromAbsl(status.message()))));
  status.ForEachPayload([&named](absl::string_view type, const absl::Cord& payload) {
    named.SetPayload(type, payload);
  });
  return named;
}

}  // namespace millrace::qcow2
