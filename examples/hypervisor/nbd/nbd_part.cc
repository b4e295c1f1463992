#include "examples/hypervisor/nbd/nbd_part.h"

#include <algorithm>
#include <utility>

#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

NbdPart::NbdPart(HypervisorHost& host, BlockLayer& layer)
    : host_(host), layer_(layer), endings_(host.engine.scheduler(), "nbd exports") {
  RegisterTlsObjects(host.objects);
  layer.OnMediumGone(
      [this](const Drive& drive) MILLRACE_MAY_SUSPEND { CoOnMediumGone(drive); },
      [this](GraphTransaction& change, const Drive& drive) { StageMediumGone(change, drive); });
  RegisterNbdServerCommands(*this);
  RegisterExportCommands(*this);
  host.loop.BeforeWait([this] {
    if (server_ != nullptr) server_->Housekeep();
  });
}

void NbdPart::CoShutdown() {
  // What clients have asked for may stand at one.
  layer_.ReleaseBreakPoints();
  if (server_ != nullptr) CoStopServer().IgnoreError();
  endings_.CoJoin();
}

absl::Status NbdPart::CheckIsNotRunning() const {
  if (server_ == nullptr) return absl::OkStatus();
  return GenericError("NBD server already running",
                      DescribeRefusal({.reason = "server-running",
                                       .object = "nbd-server",
                                       .next_step = "stop it with nbd-server-stop first"}));
}

absl::Status NbdPart::CheckIsRunning() const {
  if (server_ != nullptr) return absl::OkStatus();
  return GenericError("NBD server not running",
                      DescribeRefusal({.reason = "server-not-running",
                                       .object = "nbd-server",
                                       .next_step = "start it with nbd-server-start first"}));
}

absl::Status NbdPart::StartServer(NbdServerOptions options) {
  MILLRACE_RETURN_IF_ERROR(CheckIsNotRunning());
  MILLRACE_ASSIGN_OR_RETURN(
      server_, NbdServer::Start(host_.loop, host_.engine, exports_, std::move(options)));
  return absl::OkStatus();
}

absl::Status NbdPart::CoStopServer() {
  MILLRACE_RETURN_IF_ERROR(CheckIsRunning());
  for (const std::shared_ptr<NbdExport>& each : OldestFirst()) CoBeginEnd(each);
  server_->CoStop();
  endings_.CoJoin();
  server_.reset();
  return absl::OkStatus();
}

std::shared_ptr<NbdExport> NbdPart::Find(std::string_view id) const {
  const auto found =
      std::find_if(exports_.begin(), exports_.end(),
                   [&](const std::shared_ptr<NbdExport>& each) { return each->id() == id; });
  return found == exports_.end() ? nullptr : *found;
}

absl::Status NbdPart::AddExport(NodeId node, NbdExportOptions options, const Drive* drive) {
  MILLRACE_ASSIGN_OR_RETURN(std::shared_ptr<NbdExport> added,
                            NbdExport::Create(layer_.graph(), node, std::move(options)));
  layer_.AddBackendUser(added->backend());
  if (drive != nullptr) drives_.emplace(added.get(), drive);
  exports_.insert(exports_.begin(), std::move(added));
  return absl::OkStatus();
}

absl::Status NbdPart::CheckRemoveExport(std::string_view id, bool is_hard) const {
  const std::shared_ptr<NbdExport> found = Find(id);
  if (found == nullptr) {
    return GenericError(StrCat("Export '", id, "' is not found"),
                        DescribeRefusal({.reason = "unknown-export",
                                         .object = id,
                                         .next_step = "list them with query-block-exports"}));
  }
  if (found->is_ending()) {
    return GenericError(StrCat("Export '", id, "' is already shutting down"),
                        DescribeRefusal({.reason = "export-ending",
                                         .object = id,
                                         .next_step = "wait for BLOCK_EXPORT_DELETED"}));
  }
  const size_t clients = is_hard || server_ == nullptr ? 0 : server_->CountClients(*found);
  if (clients > 0) {
    return GenericError(
        StrCat("export '", id, "' still in use"),
        DescribeRefusal({.reason = "in-use",
                         .object = id,
                         .next_step = "let its clients disconnect, or use mode hard",
                         .holders = {clients, ConflictHolder{.type = "NBD client"}}}));
  }
  return absl::OkStatus();
}

absl::Status NbdPart::CoRemoveExport(std::string_view id, bool is_hard) {
  MILLRACE_RETURN_IF_ERROR(CheckRemoveExport(id, is_hard));
  CoBeginEnd(Find(id));
  return absl::OkStatus();
}

NbdServer::Exports NbdPart::OldestFirst() const { return {exports_.rbegin(), exports_.rend()}; }

void NbdPart::CoBeginEnd(const std::shared_ptr<NbdExport>& ended) {
  if (ended->is_ending()) return;
  ended->BeginEnd();
  drives_.erase(ended.get());
  if (server_ != nullptr) server_->Disconnect(*ended);
  const bool is_started =
      endings_.Spawn("nbd export end", [this, ended]() MILLRACE_MAY_SUSPEND { CoEnd(ended); });
  if (!is_started) CoEnd(ended);
}

bool NbdPart::EndsWith(const NbdExport& ended, const Drive& drive) const {
  const auto found = drives_.find(&ended);
  return found != drives_.end() && found->second == &drive;
}

void NbdPart::CoOnMediumGone(const Drive& drive) {
  for (const std::shared_ptr<NbdExport>& each : OldestFirst()) {
    if (EndsWith(*each, drive)) CoBeginEnd(each);
  }
}

void NbdPart::StageMediumGone(GraphTransaction& change, const Drive& drive) const {
  for (const std::shared_ptr<NbdExport>& each : exports_) {
    if (EndsWith(*each, drive)) each->StageEnd(change);
  }
}

PlanResult NbdPart::PlanEnd(CommandPlan plan, std::string_view id) const {
  GraphTransaction change(layer_.graph());
  Find(id)->StageEnd(change);
  return PlanOfEdit(change, std::move(plan));
}

PlanResult NbdPart::PlanEndOfAll(CommandPlan plan) const {
  GraphTransaction change(layer_.graph());
  for (const std::shared_ptr<NbdExport>& each : exports_) each->StageEnd(change);
  return PlanOfEdit(change, std::move(plan));
}

void NbdPart::CoEnd(const std::shared_ptr<NbdExport>& ended) {
  ended->CoEnd();
  layer_.RemoveBackendUser(ended->backend());
  std::erase(exports_, ended);
  host_.events.Emit("BLOCK_EXPORT_DELETED", {{"id", ended->id()}});
}

}  // namespace millrace
