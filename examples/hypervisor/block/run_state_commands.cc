// query-status, stop, cont, system_reset. There are no virtual CPUs: what stops is what guests have
// begun. As in QEMU, when `stop` returns nothing is in flight anywhere, jobs have stood still for a
// moment, and what guests have written is on stable storage; jobs, exports and qemu-io go on.
#include <memory>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"

namespace millrace {
namespace {

// Lets all that drives hold back pass while it lives.
class OpenThrottles {
 public:
  explicit OpenThrottles(BlockLayer& layer) {
    for (const std::unique_ptr<Drive>& drive : layer.drives()) {
      if (drive->throttle == nullptr) continue;
      drive->throttle->LetAllPass();
      open_.push_back(drive->throttle);
    }
  }
  OpenThrottles(const OpenThrottles&) = delete;
  OpenThrottles& operator=(const OpenThrottles&) = delete;
  ~OpenThrottles() {
    for (const std::shared_ptr<DriveThrottle>& throttle : open_) throttle->HoldBackAgain();
  }

 private:
  std::vector<std::shared_ptr<DriveThrottle>> open_;
};

void CoDrainAll(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  const OpenThrottles open(layer);
  layer.CoBringToRest();
  // What a drive's own limits held back enters the graph only now.
  layer.CoWaitForGuestRequests();
}

// What fails is the guest's to find out by its own flush, as in QEMU.
void CoFlushAll(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  for (size_t i = 0; i < layer.drives().size(); ++i) {
    Drive& drive = *layer.drives()[i];
    if (drive.backend.is_attached()) drive.backend.CoFlush().IgnoreError();
  }
}

CommandResult CoStop(BlockLayer& layer, bool& is_running) MILLRACE_MAY_SUSPEND {
  if (std::exchange(is_running, false)) {
    layer.host().events.Emit("STOP", {});
    CoDrainAll(layer);
  }
  CoFlushAll(layer);
  return json::object();
}

// Guest devices that are reset wait until what they have asked for is done.
CommandResult CoSystemReset(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  CoDrainAll(layer);
  layer.host().events.Emit("RESET", {{"guest", false}, {"reason", "host-qmp-system-reset"}});
  return json::object();
}

}  // namespace

void RegisterRunStateCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  const auto is_running = std::make_shared<bool>(true);
  commands.Register({.name = "query-status",
                     .arguments = {{}},
                     .handler = [is_running](const json::object&) -> CommandResult {
                       return json::value({{"running", *is_running},
                                           {"singlestep", false},
                                           {"status", *is_running ? "running" : "paused"}});
                     }});
  commands.Register({.name = "stop",
                     .arguments = {{}},
                     .handler = [&layer, is_running](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return CoStop(layer, *is_running); }});
  commands.Register({.name = "cont",
                     .arguments = {{}},
                     .handler = [&layer, is_running](const json::object&) -> CommandResult {
                       layer.job_notes().ForgetErrors(layer.jobs());
                       if (!std::exchange(*is_running, true)) {
                         layer.host().events.Emit("RESUME", {});
                       }
                       return json::object();
                     }});
  commands.SetPlanner("stop", [](const json::object&) -> PlanResult {
    return PlanOfStep("wait for all that is in flight, and flush every drive");
  });
  commands.SetPlanner("cont", [](const json::object&) -> PlanResult {
    return PlanOfStep("say that the guest runs");
  });
  commands.Register({.name = "system_reset",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return CoSystemReset(layer); },
                     .replies_first = true});
  commands.SetPlanner("system_reset", [](const json::object&) -> PlanResult {
    CommandPlan plan = PlanOfStep("wait for all that is in flight");
    plan.steps.push_back("say that the machine has been reset");
    return plan;
  });
}

}  // namespace millrace
