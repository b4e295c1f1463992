// What a GraphTransaction has staged. Internal; not installed.
#ifndef MILLRACE_GRAPH_GRAPH_TRANSACTION_PLAN_H_
#define MILLRACE_GRAPH_GRAPH_TRANSACTION_PLAN_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/proposed_graph.h"

namespace millrace {

struct GraphTransaction::Plan {
  explicit Plan(Graph& graph) : proposed(graph) {}

  bool IsShown(const SectionCore& section) const;
  bool IsShown(const FrozenChainCore& lease) const;

  struct HeaderPlan {
    Node* overlay;
    BackingReference reference;
  };
  struct LeaseExtension {
    FrozenChainCore* lease;
    Node* filter;
  };

  ProposedGraph proposed;
  absl::Status status;  // first staging error
  HolderRef requester;
  std::vector<const SectionCore*> sections;
  std::vector<const FrozenChainCore*> leases;
  std::vector<HeaderPlan> headers;
  std::vector<LeaseExtension> extensions;
  std::vector<AttachmentCore*> attached;  // become live
  std::vector<Node*> orphans;             // by validation: nodes nobody would hold
  std::vector<Node*> reserved;            // nodes whose driver holds a permission reservation
  std::vector<std::string> words;         // the plan, one line per edit
  uint64_t generated_names = 0;           // that its new nodes were given
  bool shows_the_same = false;
  bool is_validated = false;
  bool is_rehearsal = false;  // not to be applied: drains are not asked for
  bool is_closed = false;     // validation has begun: nothing more can be staged to be applied
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_TRANSACTION_PLAN_H_
