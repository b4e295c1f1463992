// NbdExport: a node offered to NBD clients under a name.
//
// It holds the node by an attachment, as a guest device does: it follows the node through edits (a
// job's filter, a snapshot), its requests queue while the node is drained, and it keeps the node
// from being resized. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "examples/hypervisor/nbd/disk.h"
#include "examples/hypervisor/process/separate_tasks.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

struct NbdExportOptions {
  std::string id;           // for QMP
  std::string name;         // for clients
  std::string description;  // "" for none
  bool is_writable = false;
  bool is_writethrough = false;
  bool tells_allocation_depth = false;  // as a meta context
};

// What an export takes of its node, and lets others take.
AttachmentOptions ExportAttachment(Graph& graph, bool is_writable);

class NbdExport final : public NbdDisk {
 public:
  // FailedPrecondition with a Conflict: somebody on the node does not share what the export needs.
  static absl::StatusOr<std::shared_ptr<NbdExport>> Create(Graph& graph, NodeId node,
                                                           NbdExportOptions options)
      MILLRACE_OPENS_VIEW;
  // It must have ended (checked by the attachment).
  ~NbdExport() override = default;

  const std::string& id() const { return options_.id; }
  const Attachment& backend() const { return backend_; }
  bool is_ending() const { return is_ending_; }
  // From here on clients do not find it.
  void BeginEnd() { is_ending_ = true; }
  // Lets go of the node, after requests under way. Sessions that use it may still exist; what they
  // submit is refused.
  void CoEnd() MILLRACE_MAY_SUSPEND;
  // Stages that, for a dry run.
  void StageEnd(GraphTransaction& change) { change.Detach(backend_); }

  const std::string& name() const override { return options_.name; }
  const std::string& description() const override { return options_.description; }
  uint64_t bytes() const override { return bytes_; }
  uint16_t transmission_flags() const override;
  NbdContextSet contexts() const override;
  bool is_writethrough() const override { return options_.is_writethrough; }
  const GuestPort& port() const override { return port_; }
  void Ask(NbdStatusQuery& query) override;

 private:
  NbdExport(Graph& graph, NbdExportOptions options, Attachment backend);
  absl::Status CoAnswer(NbdStatusQuery& query) MILLRACE_MAY_SUSPEND;

  Graph& graph_;
  const NbdExportOptions options_;
  Attachment backend_;
  GuestPort port_;
  const uint64_t bytes_;  // fixed: the attachment does not share resizing
  SeparateTasks queries_;
  bool is_ending_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_H_
