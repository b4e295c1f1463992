#include "millrace/graph/whole_file.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<WholeFile>> WholeFile::CoOpen(Graph& graph,
                                                             const DriverRegistry& registry,
                                                             const OpenFileOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoOpenFileNode(graph, registry, options));
  AttachmentOptions user;
  user.holder = hold.holder();
  user.purpose = "whole file";
  user.permissions.used = kConsistentRead;
  if (!options.is_read_only) {
    user.permissions.used = user.permissions.used | kWrite | kResize;
  }
  user.permissions.shared = kConsistentRead | kWriteUnchanged;
  absl::StatusOr<Attachment> attached = Attachment::Attach(graph, hold.node(), std::move(user));
  hold.CoDetach();
  MILLRACE_RETURN_IF_ERROR(attached.status());
  return std::unique_ptr<WholeFile>(new WholeFile(graph, options.path, *std::move(attached)));
}

void WholeFile::CoClose() { user_.CoDetach(); }

absl::Status WholeFile::CoRead(uint64_t offset, const IoVector& target) {
  const uint64_t end = bytes();
  const uint64_t inside = offset >= end ? 0 : std::min(target.bytes(), end - offset);
  target.Fill(inside, 0, target.bytes() - inside);
  if (inside == 0) return absl::OkStatus();
  return user_.CoRead(offset, target.Slice(0, inside));
}

absl::Status WholeFile::CoWrite(uint64_t offset, const IoVector& source) {
  if (source.bytes() == 0) return absl::OkStatus();
  const uint64_t end = offset + source.bytes();
  if (end > bytes()) MILLRACE_RETURN_IF_ERROR(user_.CoResize(end));
  return user_.CoWrite(offset, source);
}

absl::Status WholeFile::CoWriteZeroes(ByteRange range) {
  if (range.empty()) return absl::OkStatus();
  if (range.end() > bytes()) MILLRACE_RETURN_IF_ERROR(user_.CoResize(range.end()));
  return user_.CoWriteZeroes(range);
}

absl::Status WholeFile::CoDiscard(ByteRange range) {
  const ByteRange inside = range.Intersect(ByteRange(0, bytes()));
  return inside.empty() ? absl::OkStatus() : user_.CoDiscard(inside);
}

absl::Status WholeFile::CoFlush() { return user_.CoFlush(); }

absl::Status WholeFile::CoResize(uint64_t bytes) { return user_.CoResize(bytes); }

absl::StatusOr<uint64_t> WholeFile::CoAllocatedBytes() {
  Node* node = GraphInternals::Of(graph_).Resolve(user_.node());
  InFlightRequest request(*node);
  return static_cast<ProtocolDriver&>(*node->driver).CoAllocatedBytes();
}

}  // namespace millrace
