#include "millrace/graph/attachment.h"

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction_plan.h"

namespace millrace {

// ---- AttachmentCore ----------------------------------------------------------------------------

AttachmentCore::~AttachmentCore() {
  if (planned_in != nullptr) GraphTransaction::ForgetAttachment(*planned_in, *this);
}

void AttachmentCore::CoEnter(InFlightRequest& request) {
  const bool has_entered = CoEnterOrQueue(request, /*can_be_turned_away=*/false);
  MILLRACE_CHECK(has_entered, "R20: a queued request was woken before it was admitted");
}

bool AttachmentCore::CoEnterUnlessTurnedAway(InFlightRequest& request) {
  return CoEnterOrQueue(request, /*can_be_turned_away=*/true);
}

bool AttachmentCore::CoEnterOrQueue(InFlightRequest& request, bool can_be_turned_away) {
  graph.engine().scheduler().CheckIsHomeOf("a graph");
  if (options.queues_requests) {
    GraphInternals::Of(graph).CountGuestRequest();
    graph.engine().scheduler().Count(Counter::kGuestRequests);
  }
  if (quiesce_count == 0 || !options.queues_requests) {
    // While a drain is pending its job may still finish what it is at; once it is granted, no more.
    for (const SectionCore* section : sections) {
      MILLRACE_CHECK(!section->is_granted,
                     StrCat("G7: ", options.holder->Describe(), " starts a request on '",
                            edge.child->name, "' in somebody else's drained section"));
    }
    request.Begin(*edge.child);
    return true;
  }
  MILLRACE_MUTANT(kR20a) request.Begin(*edge.child);  // in flight while it waits for the drain
  QueuedRequest queued;
  queued.request = &request;
  queued.can_be_turned_away = can_be_turned_away;
  queue.PushBack(queued);
  MILLRACE_SOMETIMES(queue.size() > 1, "attachment: two requests wait for the end of a drain");
  queued.waiter.CoWait("attachment.queue", this);
  MILLRACE_MUTANT(kR20b) {
    if (!request.is_active()) request.Begin(*edge.child);
  }
  if (!request.is_active()) --idle_uses;  // turned away
  return request.is_active();
}

void AttachmentCore::TurnAwayQueued() {
  for (QueuedRequest* queued = queue.front(); queued != nullptr;) {
    QueuedRequest* const next = queue.After(*queued);
    if (queued->can_be_turned_away) {
      queue.Remove(*queued);
      ++idle_uses;  // until it runs: it is on no node
      queued->waiter.WakeOne();
    }
    queued = next;
  }
}

void AttachmentCore::BeginQuiesce() {
  ++quiesce_count;
  if (options.holder->quiescable != nullptr) options.holder->quiescable->BeginQuiesce();
}

void AttachmentCore::EndQuiesce() {
  MILLRACE_CHECK(quiesce_count > 0, StrCat("I9: a drain of ", options.holder->Describe(),
                                           " ended more often than it began"));
  if (--quiesce_count == 0) {
    while (QueuedRequest* queued = queue.PopFront()) {
      MILLRACE_MUTANT(kR20a) queued->request->End();
      MILLRACE_MUTANT(kR20b) {  // it counts itself when it runs
        queued->waiter.WakeOne();
        continue;
      }
      // In flight before it runs: a drain that begins in between waits for it.
      queued->request->Begin(*edge.child);
      queued->waiter.WakeOne();
    }
  }
  MILLRACE_MUTANT(kR53) {  // every begin is passed on, but only the last end
    if (quiesce_count > 0) return;
  }
  if (options.holder->quiescable != nullptr) options.holder->quiescable->EndQuiesce();
}

void AttachmentCore::DescribeWait(WaitDescription& description) const {
  description.object =
      StrCat("the drain of '", edge.child == nullptr ? "?" : edge.child->name, "'");
  for (const SectionCore* section : sections) {
    for (const HolderRef& owner : section->owners) {
      description.holders.push_back(StrCat("drained section of ", owner->Describe()));
    }
    if (section->owners.empty()) description.holders.push_back("a drained section");
  }
}

// ---- Attachment --------------------------------------------------------------------------------

absl::StatusOr<Attachment> Attachment::Attach(Graph& graph, NodeId node,
                                              AttachmentOptions options) {
  HolderRef holder = options.holder;
  GraphTransaction change(graph);
  if (holder != nullptr) change.OnBehalfOf(holder);
  Attachment attachment = change.Attach(node, std::move(options));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return attachment;
}

AttachmentOptions GuestDeviceOptions(std::string name, bool is_writable, Nanoseconds since) {
  AttachmentOptions options;
  options.holder = MakeHolder(name, "guest device", since);
  options.purpose = "root";
  options.device_name = std::move(name);
  options.permissions = GuestDevicePermissions(is_writable);
  return options;
}

Attachment::Attachment() = default;
Attachment::Attachment(std::unique_ptr<AttachmentCore> core) : core_(std::move(core)) {}
Attachment::Attachment(Attachment&& other) noexcept = default;

Attachment& Attachment::operator=(Attachment&& other) noexcept {
  if (this != &other) {
    DetachForDestructor();
    core_ = std::move(other.core_);
  }
  return *this;
}

Attachment::~Attachment() { DetachForDestructor(); }

// Destructors are not seen by the analysis; the run-time check still is there.
void Attachment::DetachForDestructor() {
  if (!is_attached()) return;
  HostScope host;
  const absl::Status status = Detach().status();
  MILLRACE_CHECK(status.ok(), StrCat("an attachment is destroyed too early: ", status.message()));
}

bool Attachment::is_attached() const { return core_ != nullptr && core_->is_live(); }
NodeId Attachment::node() const { return is_attached() ? core_->edge.child->id : NodeId(); }
const HolderRef& Attachment::holder() const { return core_->options.holder; }
const std::string& Attachment::purpose() const { return core_->options.purpose; }
const std::string& Attachment::device_name() const { return core_->options.device_name; }
Permissions Attachment::permissions() const {
  return is_attached() ? core_->edge.permissions : Permissions();
}
size_t Attachment::requests_in_flight() const { return core_ == nullptr ? 0 : core_->in_flight(); }
uint64_t Attachment::bytes() const {
  return is_attached() ? core_->edge.child->driver->bytes() : 0;
}

void Attachment::BindQuiescable(const std::vector<Attachment*>& attachments) {
  for (Attachment* attachment : attachments) {
    if (!attachment->is_attached()) continue;
    for (SectionCore* section : attachment->core_->sections) {
      Quiescable* quiescable = attachment->holder()->quiescable;
      quiescable->AddQuietListener(section);
      quiescable->BeginQuiesce();
    }
  }
}

GuestPort Attachment::guest_port() {
  if (!is_attached()) return {};
  MILLRACE_CHECK(core_->options.queues_requests,
                 "a guest port of an attachment that does not queue its requests");
  if (core_->guest_server == nullptr) {
    core_->guest_server = std::make_unique<GuestServer>(*core_);
  }
  return core_->guest_server->port();
}

absl::Status Attachment::CheckDetach() {
  GraphTransaction change(core_->graph);
  change.OnBehalfOf(core_->options.holder);
  change.Detach(*this);
  return change.Validate();
}

absl::StatusOr<std::vector<NodeId>> Attachment::Detach() {
  if (!is_attached()) return std::vector<NodeId>();
  if (core_->guest_server != nullptr) {
    // A refusal leaves the port open.
    MILLRACE_RETURN_IF_ERROR(CheckDetach());
    core_->guest_server->Close();
  }
  GraphTransaction change(core_->graph);
  change.OnBehalfOf(core_->options.holder);
  change.Detach(*this);
  // Letting go loosens permissions, so they are no reason to refuse.
  MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
  return std::move(edit.dropped);
}

void Attachment::CoDetach() {
  if (!is_attached()) return;
  if (core_->guest_server != nullptr) core_->guest_server->Close();
  Graph& graph = core_->graph;
  std::vector<NodeId> dropped;
  for (bool is_detached = false; !is_detached;) {
    bool waits = true;
    MILLRACE_MUTANT(kM22) waits = false;  // what it has on its way is nobody's affair
    while (waits && core_->uses > 0) core_->unused.CoWait("attachment.detach", core_.get());
    // Requests of others through nodes that go with it, and its own, end before it goes.
    const NodeId at = node();
    absl::StatusOr<DrainedSection> drained = DrainedSection();
    if (waits) drained = DrainedSection::CoBegin(graph, {at}, {core_->options.holder});
    // While that waited, the attachment may have moved to another node.
    if (!drained.ok() || node() != at || (waits && core_->uses > 0)) continue;
    absl::StatusOr<std::vector<NodeId>> gone = Detach();
    MILLRACE_CHECK(gone.ok(), StrCat("G4: a lease hangs on somebody else's attachment: ",
                                     gone.status().message()));
    dropped = *std::move(gone);
    is_detached = true;
  }
  graph.CoWaitForClosed(dropped);
}

}  // namespace millrace
