#include "millrace/graph/open_file.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/io/format_probe.h"
#include "millrace/graph/open/chain_rules.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

absl::StatusOr<Attachment> AddFileNode(Graph& graph, std::unique_ptr<Driver> driver,
                                       bool is_read_only, const HolderRef& holder)
    MILLRACE_OPENS_VIEW {
  NodeOptions node;
  node.is_read_only = is_read_only;
  GraphTransaction change(graph);
  change.OnBehalfOf(holder);
  const NodeId file = change.AddNode(std::move(driver), std::move(node));
  Attachment hold = change.Attach(file, ToHoldImage(holder));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return hold;
}

}  // namespace

absl::StatusOr<Attachment> CoOpenFileNode(Graph& graph, const DriverRegistry& registry,
                                          const OpenFileOptions& options) {
  DriverOptions file{{"filename", options.path}, {"locking", options.locking}};
  if (options.direct) file["direct"] = "on";
  if (!options.open_root.empty()) file["open-root"] = options.open_root;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Driver> driver, registry.Make("file", file));
  MILLRACE_ASSIGN_OR_RETURN(
      Attachment hold,
      AddFileNode(graph, std::move(driver), options.is_read_only, HolderOrMonitor(options.holder)));
  absl::Status status = CoOpenNode(graph, hold.node());
  if (status.ok()) return hold;
  hold.CoDetach();
  return status;
}

absl::StatusOr<std::string> CoGuessFormat(Graph& graph, const Attachment& file) {
  AttachmentOptions options;
  options.holder = file.holder();
  options.purpose = "guess";
  options.permissions.used = kConsistentRead;
  MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                            Attachment::Attach(graph, file.node(), std::move(options)));
  std::array<uint8_t, kProbeBytes> head{};
  const uint64_t bytes = std::min<uint64_t>(head.size(), reader.bytes());
  if (bytes > 0) MILLRACE_RETURN_IF_ERROR(reader.CoRead(0, IoVector(head.data(), bytes)));
  return std::string(ProbeFormat(absl::MakeConstSpan(head.data(), bytes)));
}

}  // namespace millrace
