#include "examples/own_job/scrub_job.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/graph_view.h"

namespace millrace::example {
namespace {

constexpr uint64_t kPieceBytes = 512 * 1024;

// All proofs are gathered in one step without suspension: what was checked still holds when the job
// works. OPENS_VIEW says that it cannot suspend, and clang proves it.
absl::StatusOr<BlockJobProofs> ClaimForScrub(Graph& graph, const ScrubOptions& options)
    MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  // No operation is called "scrub": where an image may be streamed, it may be read for long.
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, options.image, Operation::kStream));
  BlockJobProofs proofs = BlockJobProofs::For(graph, options.job.spec.id.value_or(""), "scrub");
  proofs.ClaimAll(graph, options.image);
  return proofs;
}

absl::StatusOr<Attachment> AttachReader(Graph& graph, const BlockJobProofs& proofs, NodeId image)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions reader;
  reader.holder = proofs.holder;
  reader.purpose = "main node";
  reader.permissions = {kConsistentRead, kConsistentRead | kWriteUnchanged | kWrite | kResize};
  reader.queues_requests = false;  // a job is brought to rest by drains instead
  reader.stays_at_node = true;
  return Attachment::Attach(graph, image, std::move(reader));
}

}  // namespace

absl::StatusOr<JobNumber> CoStartScrub(Graph& graph, JobManager& manager, ScrubOptions options) {
  if (options.report == nullptr) return absl::InvalidArgumentError("a scrub needs a report");
  MILLRACE_RETURN_IF_ERROR(manager.CheckNewId(options.job.spec.id, options.job.spec.is_internal));
  MILLRACE_ASSIGN_OR_RETURN(BlockJobProofs proofs, ClaimForScrub(graph, options));
  MILLRACE_ASSIGN_OR_RETURN(Attachment reader, AttachReader(graph, proofs, options.image));
  auto job = std::make_unique<ScrubJob>(graph, std::move(proofs), std::move(reader), options);
  MILLRACE_ASSIGN_OR_RETURN(JobNumber number, manager.CoCreate(options.job.spec, std::move(job)));
  MILLRACE_RETURN_IF_ERROR(manager.CoStart(number));
  return number;
}

ScrubJob::ScrubJob(Graph& graph, BlockJobProofs proofs, Attachment reader,
                   const ScrubOptions& options)
    : BlockJob(graph, std::move(proofs)),
      reader_(std::move(reader)),
      on_error_(options.job.on_error),
      report_(*options.report) {}

absl::Status ScrubJob::CoRun(JobContext& context) {
  const uint64_t total = reader_.bytes();
  context.SetRemaining(total);
  for (uint64_t offset = 0; offset < total;) {
    context.CoBeforePiece();  // the speed limit, and the pause point
    if (context.is_cancelled()) break;
    // Explorations make it read less at a time, as a job that gets on slowly does.
    const uint64_t piece_bytes = MILLRACE_BUGGIFY("scrub: a short piece") ? 512 : kPieceBytes;
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t done,
                              CoReadPiece(offset, std::min(piece_bytes, total - offset), context));
    MILLRACE_SOMETIMES(done < piece_bytes, "scrub: a layer ends within a piece");
    context.Advance(done);
    offset += done;
  }
  return absl::OkStatus();
}

// How far it got: 0 if the piece is to be tried again after the user's resume.
absl::StatusOr<uint64_t> ScrubJob::CoReadPiece(uint64_t offset, uint64_t bytes,
                                               JobContext& context) {
  const absl::Status status = CoReadIfStored(offset, &bytes, context);
  if (status.ok()) return bytes;
  switch (context.HandleError(on_error_, IoOperation::kRead, status)) {
    case ErrorAction::kReport:
      return status;
    case ErrorAction::kStop:
      return 0;
    case ErrorAction::kIgnore:
      break;
  }
  report_.bad_offsets.push_back(offset);
  return bytes;
}

// `bytes` shrinks to what one layer decides.
absl::Status ScrubJob::CoReadIfStored(uint64_t offset, uint64_t* bytes, JobContext& context) {
  MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run,
                            reader_.CoAllocation(ByteRange(offset, *bytes), NodeId(), NodeId()));
  *bytes = run.bytes;
  if (!run.is_allocated || run.is_zero) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer,
                            graph().engine().buffers().TryTake(run.bytes, "scrub"));
  MILLRACE_RETURN_IF_ERROR(reader_.CoRead(offset, IoVector(buffer.data(), run.bytes)));
  CoCount(run.bytes);
  context.AccountBytes(run.bytes);
  return absl::OkStatus();
}

#ifdef EXAMPLE_PLANTED_BUG
// What explore.cc shows the explorer to find: a value that was read before a suspension is written
// back after it. In production's order nobody comes between.
void ScrubJob::CoCount(uint64_t bytes) {
  const uint64_t before = report_.bytes_read;
  CoYield();
  report_.bytes_read = before + bytes;
}
#else
void ScrubJob::CoCount(uint64_t bytes) { report_.bytes_read += bytes; }
#endif

// Detaching is an edit like any other: drained, and in one transaction with whatever the other
// members of a job transaction edit.
std::vector<NodeId> ScrubJob::NodesToDrain(const GraphReader&) const { return {reader_.node()}; }

void ScrubJob::StageGraphEdit(GraphTransaction& change) { StageDetachAll(change); }

void ScrubJob::CoAbort() {
  if (reader_.is_attached()) reader_.CoDetach();
}

}  // namespace millrace::example
