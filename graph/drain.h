// DrainedSection: a part of the graph at rest, for as long as it lives.
//
// Draining a node quiesces everything above it: attachments queue new requests, jobs go to a pause
// point; then it waits until no request is in flight there, re-checking until that is stable. What
// sits below the node goes on. While a section is held, edges whose parent it covers may be changed
// by whoever shows it to a GraphTransaction (G6), and no request runs through a covered node (G7).
//
// Owners. A section names the holders on whose behalf it is opened; their own attachments and steps
// are exempt, so that a completing job does not wait for itself. A section is pending until it is
// granted. A coroutine parked in CoBegin counts as quiesced; a pending section does not stop the
// owner of a granted one; of several pending ones that are ready the oldest is granted. So drains
// form no cycle, provided that an owner does not begin a second section while it holds a first:
// open one section over several nodes instead.
//
//   MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained, DrainedSection::CoBegin(graph, {top},
//   {holder}));
//
// Other coroutines may edit the graph while CoBegin waits: derive again afterwards. Move-only.
// Ending never suspends. Sections nest and are counted. Home thread only.
#ifndef MILLRACE_GRAPH_DRAIN_H_
#define MILLRACE_GRAPH_DRAIN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class Graph;
struct SectionCore;

class [[nodiscard]] DrainedSection {
 public:
  // Waits until the section is granted. Not cancellable. FailedPrecondition (kStaleNode) if one of
  // the nodes is gone when it starts; a node that goes while it waits no longer counts.
  static absl::StatusOr<DrainedSection> CoBegin(Graph& graph, std::vector<NodeId> nodes,
                                                std::vector<HolderRef> owners) MILLRACE_MAY_SUSPEND;

  DrainedSection();
  ~DrainedSection();
  DrainedSection(DrainedSection&& other) noexcept;
  DrainedSection& operator=(DrainedSection&& other) noexcept;

  // Lets everything go on. Requests that queued are in flight from here on, in order.
  void End();
  bool is_active() const { return core_ != nullptr; }

 private:
  friend class GraphTransaction;
  friend class Attachment;
  explicit DrainedSection(std::unique_ptr<SectionCore> core);

  std::unique_ptr<SectionCore> core_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRAIN_H_
