// GuestRequest: one request of a guest's device: what to do, with which memory, and who is told
// when it is done. Handed in through a GuestPort (graph/guest_port.h).
//
// It is the submitter's own memory, most often a part of the device's own request, so that
// submitting and completing allocate nothing. From Submit() until its completion is called, the
// request, its array of iovecs and the buffers belong to the port: they stay where they are, and
// the request is not submitted again (checked).
//
// Buffers are used in place, the guest's own memory too, from the first to the last byte; a guest
// that changes one under way gets the old bytes, the new ones, or some of each. Any address, length
// and offset will do; where the host wants alignment (a file opened with O_DIRECT: often 512 or
// 4,096), a request that does not have it goes through a buffer of the engine's and costs a copy.
#ifndef MILLRACE_GRAPH_GUEST_REQUEST_H_
#define MILLRACE_GRAPH_GUEST_REQUEST_H_

#include <sys/uio.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/io/submission_queue.h"

namespace millrace {

enum class GuestOperation : uint8_t {
  kRead,
  kWrite,
  kWriteZeroes,
  kDiscard,
  // Everything whose completion was called before the flush was submitted is durable when the
  // flush completes. It says nothing about requests that are under way beside it.
  kFlush,
};

struct GuestRequest : SubmissionItem {
  // Called exactly once, on the home thread of the attachment's engine, with `status` set. Must not
  // suspend, nor detach or destroy the attachment, nor wait for a thread that waits for this one.
  // It may submit, this very request too, or give the request's memory back: the port does not look
  // at it any more.
  using Completion = void (*)(GuestRequest& request);

  GuestOperation operation = GuestOperation::kRead;
  bool force_unit_access = false;  // writes: durable when completed
  bool may_unmap = true;           // kWriteZeroes: the space may be given back
  uint64_t offset = 0;             // bytes
  uint64_t bytes = 0;              // kWriteZeroes, kDiscard; otherwise `iov` tells
  absl::Span<const iovec> iov;     // kRead, kWrite
  Completion completion = nullptr;
  void* context = nullptr;  // the submitter's own

  bool is_under_way = false;  // the port's own

  // Of the latest completion. The errors of Attachment::CoRead and its siblings; and Cancelled: the
  // attachment was detached first, and nothing of the request was done.
  absl::Status status;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_REQUEST_H_
