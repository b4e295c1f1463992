#include "millrace/graph/guest_server.h"

#include <new>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph.h"

namespace millrace {
namespace {

absl::Status CancelledStatus() {
  return absl::CancelledError("the attachment was detached before the request had started");
}

void Complete(GuestRequest& request, absl::Status status) {
  request.status = std::move(status);
  request.is_under_way = false;
  request.completion(request);  // may have given the request's memory back
}

}  // namespace

// What a coroutine of the server has on its stack.
struct GuestServer::Worker {
  explicit Worker(GuestServer* its_server) : server(its_server), use(its_server->core_) {
    ++server->core_.idle_uses;
  }
  ~Worker() { --server->core_.idle_uses; }

  GuestServer* server;
  AttachmentUse use;  // the attachment does not go while it works

  static void Run(void* self) MILLRACE_NO_ANALYSIS {
    auto* worker = static_cast<Worker*>(self);
    AssertInCoroutine();
    worker->server->CoWork();
    worker->~Worker();
  }
};

GuestServer::GuestServer(AttachmentCore& core)
    : core_(core),
      workers_(core.graph.engine().scheduler(), "guest requests"),
      queue_(std::make_shared<GuestPort::Queue>(
          core.graph.engine(), [this](GuestRequest& request) { Accept(request); })) {}

GuestServer::~GuestServer() { Close(); }

void GuestServer::Close() {
  if (queue_->is_closed()) return;
  queue_->Close([this](GuestRequest& request) { waiting_.PushBack(request); });
  bool turns_away = true;
  MILLRACE_MUTANT(kM23) turns_away = false;  // they will be served when the drain is over
  if (turns_away) core_.TurnAwayQueued();
  while (GuestRequest* request = waiting_.PopFront()) Complete(*request, CancelledStatus());
}

void GuestServer::Accept(GuestRequest& request) {
  waiting_.PushBack(request);
  StartWorkers();
}

void GuestServer::StartWorkers() {
  if (workers_.live() >= GuestPort::kInFlightMax || StartWorker() || workers_.live() > 0) return;
  // No stack, and nobody who will come back for it.
  Complete(*waiting_.PopFront(),
           absl::ResourceExhaustedError(
               StrCat("cannot start a request of ", core_.options.holder->Describe(),
                      ": no memory for a coroutine's stack; finish other work first, or raise "
                      "vm.max_map_count")));
}

// Not TaskScope::Spawn(): where there is no stack, that fails the scope and all that runs in it.
bool GuestServer::StartWorker() {
  Scheduler& scheduler = core_.graph.engine().scheduler();
  void* memory =
      scheduler.Start(workers_, "guest request", sizeof(Worker), alignof(Worker), &Worker::Run);
  if (memory == nullptr) return false;
  new (memory) Worker(this);
  return true;
}

void GuestServer::CoWork() {
  while (GuestRequest* request = waiting_.PopFront()) {
    --core_.idle_uses;
    CoServe(*request);
    ++core_.idle_uses;
  }
}

void GuestServer::CoServe(GuestRequest& request) {
  // Ends after the completion: who drains may rely on the guest having been told (race R21).
  InFlightRequest entered;
  if (!core_.is_live() || !core_.CoEnterUnlessTurnedAway(entered)) {
    return Complete(request, CancelledStatus());
  }
  MILLRACE_MUTANT(kR21) {  // done is done; telling the guest comes afterwards
    absl::Status status = CoPerform(request, entered);
    entered.End();
    CoYield();
    return Complete(request, std::move(status));
  }
  Complete(request, CoPerform(request, entered));
}

absl::Status GuestServer::CoPerform(const GuestRequest& request, const InFlightRequest& entered) {
  switch (request.operation) {
    case GuestOperation::kRead:
      return core_.CoRead(entered, request.offset, IoVector(request.iov));
    case GuestOperation::kWrite:
      return core_.CoWrite(entered, request.offset, IoVector(request.iov),
                           {.force_unit_access = request.force_unit_access});
    case GuestOperation::kWriteZeroes:
      return core_.CoWriteZeroes(entered, request.offset, request.bytes,
                                 {.may_unmap = request.may_unmap});
    case GuestOperation::kDiscard:
      return core_.CoDiscard(entered, request.offset, request.bytes);
    case GuestOperation::kFlush:
      return core_.CoFlush(entered);
  }
  return absl::InvalidArgumentError("an operation that a guest's request cannot ask for");
}

}  // namespace millrace
