#include "examples/hypervisor/block/quorum_events.h"

#include <cstdint>
#include <string>
#include <utility>

#include "millrace/engine/io/io_error.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr uint64_t kQuorumSectorBytes = 512;

std::string_view OperationName(QuorumReport::Operation operation) {
  switch (operation) {
    case QuorumReport::Operation::kRead:
      return "read";
    case QuorumReport::Operation::kWrite:
      return "write";
    case QuorumReport::Operation::kFlush:
      break;
  }
  return "flush";
}

std::string DeviceOrNodeName(BlockLayer& layer, const std::string& node_name) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Find(node_name);
  const std::string device = node.ok() ? node->device_name() : std::string();
  return device.empty() ? node_name : device;
}

}  // namespace

void EmitQuorumReport(BlockLayer& layer, const QuorumReport& report) {
  const uint64_t first = report.range.offset / kQuorumSectorBytes;
  const uint64_t end = (report.range.end() + kQuorumSectorBytes - 1) / kQuorumSectorBytes;
  const bool is_flush = report.operation == QuorumReport::Operation::kFlush;
  json::object data = {{"sector-num", is_flush ? 0 : first},
                       {"sectors-count", is_flush ? 0 : end - first}};
  if (report.child.empty()) {
    data["reference"] = DeviceOrNodeName(layer, report.quorum);
    return layer.host().events.Emit("QUORUM_FAILURE", std::move(data));
  }
  const std::string_view operation = OperationName(report.operation);
  data["type"] = json::string_view(operation.data(), operation.size());
  data["node-name"] = report.child;
  if (CarriesErrno(report.error)) data["error"] = ErrnoText(ErrnoOf(report.error));
  layer.host().events.Emit("QUORUM_REPORT_BAD", std::move(data));
}

}  // namespace millrace
