// Adding an export: what QMP's two commands and --export have in common.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_OPTIONS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_OPTIONS_H_

#include <optional>
#include <string>

#include "examples/hypervisor/nbd/nbd_part.h"
#include "examples/hypervisor/qmp/command_plan.h"

namespace millrace {

struct ExportRequest {
  NodeId node;
  const Drive* drive = nullptr;  // whose medium it is: the export ends when that is taken out
  NbdExportOptions options;
  std::string bitmap_refusal;  // if bitmaps are asked for: there are none
};

// What AddExport() would refuse.
absl::Status RehearseExport(NbdPart& part, const ExportRequest& request) MILLRACE_OPENS_VIEW;
// The same as a plan: the step in words, and the graph.
PlanResult PlanExport(NbdPart& part, const ExportRequest& request, std::string step)
    MILLRACE_OPENS_VIEW;

// Checks what QEMU checks, in its order, and adds the export.
absl::Status AddExport(NbdPart& part, ExportRequest request) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_EXPORT_OPTIONS_H_
