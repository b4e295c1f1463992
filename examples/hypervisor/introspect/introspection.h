// x-millrace-plan, x-millrace-explain and x-millrace-trace: what QEMU has no commands for.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_INTROSPECTION_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_INTROSPECTION_H_

#include <map>
#include <string>
#include <string_view>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/introspect/plan.h"
#include "examples/hypervisor/introspect/trace_recorder.h"
#include "examples/hypervisor/process/hypervisor_host.h"
#include "examples/hypervisor/qmp/command_table.h"

namespace millrace {

class Introspection final : public HypervisorPart {
 public:
  // Registers the commands. The layer outlives it.
  explicit Introspection(BlockLayer& layer);
  ~Introspection() override;

  // A trace that was not stopped is lost.
  void CoShutdown() override MILLRACE_MAY_SUSPEND;

 private:
  void RegisterPlan();
  void RegisterExplain();
  void RegisterTrace();
  CommandResult CoPlan(const json::object& arguments) MILLRACE_MAY_SUSPEND;
  PlanResult CoPlanOf(const CommandSpec& spec, const json::object& arguments) MILLRACE_MAY_SUSPEND;
  CommandResult StartTrace(const json::object& arguments);
  CommandResult StopTrace();

  BlockLayer& layer_;
  TraceRecorder recorder_;
  std::string trace_filename_;  // empty: the trace is part of the reply
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_INTROSPECTION_H_
