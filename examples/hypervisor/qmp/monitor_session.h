// MonitorSession: one client of a QMP monitor, from its greeting to its last reply.
//
// What arrives is cut into requests and queued; the dispatcher takes them one by one. A client that
// sends faster than it is served, or does not read its replies, is not read from for a while. Home
// thread only; nothing here suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_SESSION_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_SESSION_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "examples/hypervisor/process/connection.h"
#include "examples/hypervisor/process/passed_descriptor.h"
#include "examples/hypervisor/qmp/json.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "examples/hypervisor/qmp/text_rope.h"

namespace millrace {

struct MonitorRequest {
  // Handlers run on the small stack of a coroutine, and nested options are opened by recursion.
  static constexpr size_t kArgumentDepthMax = 64;

  absl::Status mistake;  // not OK: it is answered with this
  std::string id;        // as JSON text in the session's layout; empty if it had none
  std::string command;
  json::object arguments;
  bool is_too_deep = false;  // the arguments are, for any handler
  PassedDescriptor descriptor{};
};

class MonitorSession {
 public:
  // `on_change` is called after something arrived, also the end.
  MonitorSession(std::unique_ptr<Connection> connection, JsonLayout layout,
                 std::function<void()> on_change);
  MonitorSession(const MonitorSession&) = delete;
  MonitorSession& operator=(const MonitorSession&) = delete;

  // Sends the greeting and begins to read. `version` is as in query-version.
  void Start(const json::object& version);

  bool has_negotiated() const { return has_negotiated_; }
  void SetNegotiated() { has_negotiated_ = true; }

  // Whether a request waits and its reply could be sent.
  bool has_servable_request() const;
  // The oldest request, with the descriptor that came with it or was left over before it.
  std::unique_ptr<MonitorRequest> TakeRequest();
  // What no command took: it waits for the client's next request that brings none of its own.
  void KeepDescriptor(PassedDescriptor descriptor) { left_over_ = std::move(descriptor); }
  // `result`: the value of "return" in the session's layout.
  void SendReply(const MonitorRequest& request, TextRope result);
  void SendError(const MonitorRequest& request, const QmpErrorReply& error);
  void SendEvent(const json::object& event);
  void Flush();

  JsonLayout layout() const { return layout_; }
  // The client sends no more, or cannot be sent anything; what it has sent is still answered.
  bool has_ended() const { return has_ended_ || connection_->is_broken(); }
  // Nobody is there any more, or all is answered and sent.
  bool is_over() const;
  bool has_unsent() const { return connection_->unsent_bytes() > 0; }

 private:
  void OnValue(absl::StatusOr<json::value> value);
  void OnEnd();
  // A message of one member, and the request's id.
  void Send(std::string_view member, TextRope value, const std::string& id);
  void SendLine(TextRope line);
  void UpdateReading();

  std::unique_ptr<Connection> connection_;
  const JsonLayout layout_;
  const std::function<void()> on_change_;
  JsonStream input_;
  std::deque<std::unique_ptr<MonitorRequest>> requests_;
  PassedDescriptor arrived_;    // with bytes of a request that is not complete yet
  PassedDescriptor left_over_;  // from a request that has been served
  bool has_negotiated_ = false;
  bool has_ended_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_MONITOR_SESSION_H_
