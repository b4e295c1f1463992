// NbdPart: the NBD server of the daemon and what it exports, with the commands and options that
// control them:
//
//   nbd-server-start, nbd-server-stop, nbd-server-add, nbd-server-remove,
//   block-export-add, block-export-del, query-block-exports, --nbd-server, --export
//
// An export ends in a coroutine of its own after the reply; BLOCK_EXPORT_DELETED says when. Home
// thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_NBD_PART_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_NBD_PART_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/nbd/export.h"
#include "examples/hypervisor/nbd/server.h"
#include "examples/hypervisor/process/hypervisor_host.h"
#include "examples/hypervisor/process/separate_tasks.h"

namespace millrace {

class NbdPart final : public HypervisorPart {
 public:
  // `layer` outlives the part.
  NbdPart(HypervisorHost& host, BlockLayer& layer);
  void CoShutdown() override MILLRACE_MAY_SUSPEND;

  HypervisorHost& host() { return host_; }
  BlockLayer& layer() { return layer_; }
  const NbdServer::Exports& exports() const { return exports_; }
  bool is_server_running() const { return server_ != nullptr; }

  absl::Status StartServer(NbdServerOptions options);
  // Cuts off all clients and ends all exports.
  absl::Status CoStopServer() MILLRACE_MAY_SUSPEND;

  // Null if there is none.
  std::shared_ptr<NbdExport> Find(std::string_view id) const;
  // With a drive: the export ends when the drive loses its medium.
  absl::Status AddExport(NodeId node, NbdExportOptions options, const Drive* drive = nullptr)
      MILLRACE_OPENS_VIEW;
  // What CoRemoveExport() would refuse.
  absl::Status CheckRemoveExport(std::string_view id, bool is_hard) const;
  // `is_hard`: clients are cut off; otherwise it is refused while there are any.
  absl::Status CoRemoveExport(std::string_view id, bool is_hard) MILLRACE_MAY_SUSPEND;

  // The plan with the graph after the end of that export, or of all.
  PlanResult PlanEnd(CommandPlan plan, std::string_view id) const MILLRACE_OPENS_VIEW;
  PlanResult PlanEndOfAll(CommandPlan plan) const MILLRACE_OPENS_VIEW;

  // "NBD server already running", and "NBD server not running".
  absl::Status CheckIsNotRunning() const;
  absl::Status CheckIsRunning() const;

 private:
  // In a coroutine of its own, or, without memory for one, now.
  void CoBeginEnd(const std::shared_ptr<NbdExport>& ended) MILLRACE_MAY_SUSPEND;
  void CoOnMediumGone(const Drive& drive) MILLRACE_MAY_SUSPEND;
  void StageMediumGone(GraphTransaction& change, const Drive& drive) const;
  bool EndsWith(const NbdExport& ended, const Drive& drive) const;
  // A copy, in the order in which they end where several do.
  NbdServer::Exports OldestFirst() const;
  void CoEnd(const std::shared_ptr<NbdExport>& ended) MILLRACE_MAY_SUSPEND;

  HypervisorHost& host_;
  BlockLayer& layer_;
  NbdServer::Exports exports_;                       // newest first, those that end included
  std::unique_ptr<NbdServer> server_;                // null: not running
  std::map<const NbdExport*, const Drive*> drives_;  // of those that end with a medium
  SeparateTasks endings_;
};

// The commands and options, called by the constructor.
void RegisterNbdServerCommands(NbdPart& part);
void RegisterExportCommands(NbdPart& part);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_NBD_PART_H_
