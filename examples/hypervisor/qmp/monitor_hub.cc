#include "examples/hypervisor/qmp/monitor_hub.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {
namespace {

// After a request that has begun something: a job needs two for its first piece, which its copiers
// do in a third.
constexpr int kTurnsOfOthers = 3;
// Clients of one monitor that have stopped sending but are still answered.
constexpr size_t kLingeringMax = 16;
constexpr std::string_view kNegotiationCommand = "qmp_capabilities";
constexpr std::array<std::string_view, 2> kModeNames = {"readline", "control"};
constexpr size_t kControlMode = 1;

json::object Now() {
  const int64_t microseconds = std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count();
  return {{"seconds", microseconds / 1'000'000}, {"microseconds", microseconds % 1'000'000}};
}

}  // namespace

MonitorHub::MonitorHub(const CommandTable& commands, const ErrorRenderer& renderer,
                       json::object version)
    : commands_(commands),
      renderer_(renderer),
      version_(std::move(version)),
      changed_("requests of QMP clients") {}

absl::Status MonitorHub::AddFromOption(std::string_view text, const ChardevTable& chardevs) {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseKeyval(text, "chardev"));
  ArgumentReader reader = value.Reader();
  reader.OptionalString("id");
  const size_t mode = reader.OptionalEnum("mode", kModeNames).value_or(kControlMode);
  const bool is_pretty = reader.OptionalBool("pretty").value_or(false);
  const std::string chardev_id = reader.String("chardev");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  Chardev* const chardev = chardevs.Find(chardev_id);
  if (chardev == nullptr) {
    return GenericError(StrCat("chardev \"", chardev_id, "\" not found"));
  }
  if (mode != kControlMode) return GenericError("Only QMP is supported");
  if (chardev->has_user()) return GenericError(StrCat("Device '", chardev_id, "' is in use"));
  chardev->ReserveForUser();
  auto monitor = std::make_unique<Monitor>();
  monitor->chardev = chardev;
  monitor->layout = is_pretty ? JsonLayout::kPretty : JsonLayout::kLine;
  monitors_.push_back(std::move(monitor));
  return absl::OkStatus();
}

void MonitorHub::Activate() {
  for (const auto& monitor : monitors_) {
    monitor->chardev->Activate([this, &monitor = *monitor](std::unique_ptr<Connection> connection) {
      Connect(monitor, std::move(connection));
    });
  }
}

void MonitorHub::Connect(Monitor& monitor, std::unique_ptr<Connection> connection) {
  monitor.current = std::make_shared<MonitorSession>(std::move(connection), monitor.layout,
                                                     [this] { changed_.Notify(); });
  monitor.current->Start(version_);
}

std::vector<std::shared_ptr<MonitorSession>> MonitorHub::Sessions() const {
  std::vector<std::shared_ptr<MonitorSession>> sessions;
  for (const auto& monitor : monitors_) {
    sessions.insert(sessions.end(), monitor->lingering.begin(), monitor->lingering.end());
    if (monitor->current != nullptr) sessions.push_back(monitor->current);
  }
  return sessions;
}

std::shared_ptr<MonitorSession> MonitorHub::NextToServe() {
  const std::vector<std::shared_ptr<MonitorSession>> sessions = Sessions();
  for (size_t i = 0; i < sessions.size(); ++i) {
    const size_t index = (turn_ + i) % sessions.size();
    if (!sessions[index]->has_servable_request()) continue;
    turn_ = index + 1;
    return sessions[index];
  }
  return nullptr;
}

void MonitorHub::CoServe() {
  while (!is_stopping_) {
    // Held while it is served: its client may go, and another one come.
    if (const std::shared_ptr<MonitorSession> session = NextToServe()) {
      has_emitted_ = false;
      CoServeOne(*session);
      if (has_emitted_) CoLetOthersWork();
    } else {
      changed_.CoWait();
    }
  }
}

// A job that a request has started, of which it has told, begins to work, so that what the same
// client has sent along with the request does not find it as if it had never run.
void MonitorHub::CoLetOthersWork() {
  for (int turn = 0; turn < kTurnsOfOthers && !is_stopping_; ++turn) {
    if (!CoSleepFor(0).ok()) return;
  }
}

void MonitorHub::Stop() {
  is_stopping_ = true;
  changed_.Notify();
}

void MonitorHub::CoServeOne(MonitorSession& session) {
  std::unique_ptr<MonitorRequest> request = session.TakeRequest();
  const CommandSpec* const spec = commands_.Find(request->command);
  holds_events_ = spec != nullptr && spec->replies_first;
  if (descriptor_place_ != nullptr) *descriptor_place_ = std::move(request->descriptor);
  CommandText result = CoRun(session, *request);
  if (descriptor_place_ != nullptr) session.KeepDescriptor(std::move(*descriptor_place_));
  if (result.ok()) {
    session.SendReply(*request, *std::move(result));
  } else {
    QmpErrorReply error = RenderError(result.status(), renderer_);
    if (!tells_error_data_) error.data.clear();
    session.SendError(*request, error);
  }
  SendHeldEvents();
  finished_requests_.push_back(std::move(request));
}

CommandText MonitorHub::CoRun(MonitorSession& session, const MonitorRequest& request) {
  MILLRACE_RETURN_IF_ERROR(request.mistake);
  if (session.has_negotiated()) {
    // What is wrong with declared arguments is said first.
    const CommandSpec* const spec = commands_.Find(request.command);
    if (spec != nullptr && request.is_too_deep) {
      MILLRACE_RETURN_IF_ERROR(CommandTable::CheckArguments(*spec, request.arguments));
      return GenericError(StrCat("QMP input member 'arguments' nests deeper than ",
                                 MonitorRequest::kArgumentDepthMax, " levels"));
    }
    return commands_.CoCallForText(request.command, request.arguments, session.layout());
  }
  if (request.command != kNegotiationCommand) {
    return CommandNotFound("Expecting capabilities negotiation with 'qmp_capabilities'");
  }
  MILLRACE_RETURN_IF_ERROR(Negotiate(session, request.arguments));
  return TextRope(FormatJson(json::object(), session.layout(), 1));
}

// There is one capability in QMP, out-of-band execution, and it is not offered.
absl::Status MonitorHub::Negotiate(MonitorSession& session, const json::object& arguments) const {
  ArgumentReader reader(arguments);
  const json::array* const wanted = reader.OptionalArray("enable");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  for (const json::value& name : wanted == nullptr ? json::array() : *wanted) {
    if (!name.is_string()) {
      return GenericError("Invalid parameter type for 'enable[0]', expected: string");
    }
    if (View(name.get_string()) != "oob") {
      return GenericError(
          StrCat("Parameter 'null' does not accept value '", View(name.get_string()), "'"));
    }
  }
  if (wanted != nullptr && !wanted->empty()) return GenericError("Capability oob not available");
  session.SetNegotiated();
  return absl::OkStatus();
}

void MonitorHub::Emit(std::string_view name, json::object data) {
  has_emitted_ = true;
  json::object event;
  event["timestamp"] = Now();
  event["event"] = json::string_view(name.data(), name.size());
  if (!data.empty()) event["data"] = std::move(data);
  if (holds_events_) {
    held_events_.push_back(std::move(event));
  } else {
    Send(event);
  }
}

void MonitorHub::Send(const json::object& event) {
  for (const auto& session : Sessions()) session->SendEvent(event);
}

void MonitorHub::SendHeldEvents() {
  holds_events_ = false;
  for (const json::object& event : std::exchange(held_events_, {})) Send(event);
}

void MonitorHub::Flush() {
  for (const auto& session : Sessions()) session->Flush();
}

void MonitorHub::Housekeep() {
  finished_requests_.clear();
  bool may_serve_more = false;
  for (const auto& session : Sessions()) {
    session->Flush();
    may_serve_more |= session->has_servable_request();
  }
  for (const auto& monitor : monitors_) {
    auto& lingering = monitor->lingering;
    if (monitor->current != nullptr && monitor->current->has_ended()) {
      lingering.push_back(std::exchange(monitor->current, nullptr));
      monitor->chardev->OnDisconnected();
    }
    lingering.erase(std::remove_if(lingering.begin(), lingering.end(),
                                   [](const auto& session) { return session->is_over(); }),
                    lingering.end());
    if (lingering.size() > kLingeringMax) lingering.erase(lingering.begin());
  }
  // One whose client has read on.
  if (may_serve_more && changed_.has_waiters()) changed_.Notify();
}

bool MonitorHub::has_unsent() const {
  const auto sessions = Sessions();
  return std::any_of(sessions.begin(), sessions.end(),
                     [](const auto& session) { return session->has_unsent(); });
}

}  // namespace millrace
