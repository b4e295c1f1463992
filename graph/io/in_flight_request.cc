#include "millrace/graph/io/in_flight_request.h"

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/node.h"

namespace millrace {

void InFlightRequest::Begin(Node& node) {
  MILLRACE_CHECK(node_ == nullptr, "request begun twice");
  internal::TouchHere("requests of", node.name, StepAccess::kWrite);
  node_ = &node;
  ordinal_ = ++node.newest_request;
  node.requests.PushBack(*this);
}

void InFlightRequest::End() {
  if (node_ == nullptr) return;
  Node& node = *std::exchange(node_, nullptr);
  internal::TouchHere("requests of", node.name, StepAccess::kWrite);
  node.requests.Remove(*this);
  if (node.requests.empty() && node.is_quiesced()) {
    GraphInternals::Of(node.graph).sections.OnNodeAtRest(node);
  }
}

}  // namespace millrace
