// insert_filter: puts any filter above a node of a live graph, and takes one out again, as a job.
//
//   above <- node        after insert:  above <- [filter] <- node
//
// The filter is opened beside the traffic; then, in one drained edit, everything that points at the
// node points at the filter. Taking out is the reverse. Streams and commits above and below go on,
// and keep the filter. Between start and edit the node is claimed, so that nobody leases a link to
// it meanwhile and the edit cannot be refused; whoever replaces the node, or puts a filter of his
// own above it, takes the waiting filter along.
//
// A node lives as long as somebody points at it, the filter too: it is there for whoever stands
// above the node, and goes when the last of them does. What only holds the node
// (OpenedImage::holds, a monitor's reference) stays where it is and sees nothing of a filter; with
// nobody else above, the filter would go with the job that brought it, so such an insertion is
// refused (kNothingAbove): attach the device first, or open the node with the filter.
#ifndef MILLRACE_JOBS_INSERT_FILTER_INSERT_FILTER_JOB_H_
#define MILLRACE_JOBS_INSERT_FILTER_INSERT_FILTER_JOB_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

struct InsertFilterOptions {
  JobSpec spec{};             // with an id: the device's name is left to jobs that copy
  NodeId below{};             // the node that the filter will show
  std::string filter_name{};  // empty: a generated one
};

// Takes every proof that the insertion needs, or names who is in the way; dropped again, it was a
// question.
absl::StatusOr<BlockJobProofs> ClaimForInsertFilter(Graph& graph,
                                                    const InsertFilterOptions& options)
    MILLRACE_OPENS_VIEW;

// FailedPrecondition if a link above the node is leased by a job (kFrozenLink), nobody stands above
// the node (kNothingAbove), or the filter cannot have its permissions. InvalidArgument (kNotFilter)
// if there is no filter.
absl::StatusOr<JobNumber> CoStartInsertFilter(Graph& graph, JobManager& manager,
                                              std::unique_ptr<FilterDriver> filter,
                                              InsertFilterOptions options) MILLRACE_MAY_SUSPEND;

struct RemoveFilterOptions {
  JobSpec spec{};  // with an id
  NodeId filter{};
};

// The same for the removal.
absl::StatusOr<BlockJobProofs> ClaimForRemoveFilter(Graph& graph,
                                                    const RemoveFilterOptions& options)
    MILLRACE_OPENS_VIEW;

// InvalidArgument (kNotFilter) for another kind of node; FailedPrecondition (kFrozenLink) if a link
// to or from the filter is leased, (kNodeBusy) if it belongs to a job.
absl::StatusOr<JobNumber> CoStartRemoveFilter(Graph& graph, JobManager& manager,
                                              RemoveFilterOptions options) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_JOBS_INSERT_FILTER_INSERT_FILTER_JOB_H_
