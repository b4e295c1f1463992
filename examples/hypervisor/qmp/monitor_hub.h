// MonitorHub: all QMP monitors, the one dispatcher that serves them, and their events.
//
// One command runs at a time over all monitors, monitors taking turns. A command whose client
// vanishes still runs to its end. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_HUB_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_HUB_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/qmp/command_table.h"
#include "examples/hypervisor/qmp/event_sink.h"
#include "examples/hypervisor/qmp/monitor_session.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

class MonitorHub final : public EventSink {
 public:
  // Both outlive the hub; the renderer is asked at each error, so it may be set later. `version` is
  // as in query-version.
  MonitorHub(const CommandTable& commands, const ErrorRenderer& renderer, json::object version);

  // The argument of --monitor: "[chardev=]ID[,mode=control][,pretty=on]".
  absl::Status AddFromOption(std::string_view text, const ChardevTable& chardevs);
  // From now on clients are greeted.
  void Activate();

  // Serves until Stop(); a command that runs then is finished first.
  void CoServe() MILLRACE_MAY_SUSPEND;
  void Stop();

  void Emit(std::string_view name, json::object data) override;
  void Flush() override;

  // In every turn of the event loop: sends what can be sent, lets go of clients that are gone.
  void Housekeep();
  bool has_unsent() const;

  // Whether refusals carry `data`, which QEMU's have not. On by default.
  void SetTellsErrorData(bool tells) { tells_error_data_ = tells; }
  // Where commands look for what a client has passed along with the request that is served. It
  // outlives the hub; null: nowhere.
  void SetDescriptorPlace(PassedDescriptor* place) { descriptor_place_ = place; }

 private:
  struct Monitor {
    Chardev* chardev = nullptr;
    JsonLayout layout = JsonLayout::kLine;
    std::shared_ptr<MonitorSession> current;
    // Clients that send no more but are still answered, oldest first.
    std::vector<std::shared_ptr<MonitorSession>> lingering;
  };

  void Connect(Monitor& monitor, std::unique_ptr<Connection> connection);
  std::vector<std::shared_ptr<MonitorSession>> Sessions() const;
  // The next in turn that has a request; null if none has.
  std::shared_ptr<MonitorSession> NextToServe();
  void CoServeOne(MonitorSession& session) MILLRACE_MAY_SUSPEND;
  void CoLetOthersWork() MILLRACE_MAY_SUSPEND;
  // The value of "return", as text.
  CommandText CoRun(MonitorSession& session, const MonitorRequest& request) MILLRACE_MAY_SUSPEND;
  absl::Status Negotiate(MonitorSession& session, const json::object& arguments) const;
  void Send(const json::object& event);
  void SendHeldEvents();

  const CommandTable& commands_;
  const ErrorRenderer& renderer_;
  const json::object version_;
  PassedDescriptor* descriptor_place_ = nullptr;
  bool tells_error_data_ = true;
  std::vector<std::unique_ptr<Monitor>> monitors_;
  size_t turn_ = 0;
  Condition changed_;
  bool is_stopping_ = false;
  bool has_emitted_ = false;  // since the latest request was begun
  // While a command runs that replies first.
  bool holds_events_ = false;
  std::vector<json::object> held_events_;
  // Destroyed by Housekeep(), outside coroutines.
  std::vector<std::unique_ptr<MonitorRequest>> finished_requests_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_HUB_H_
