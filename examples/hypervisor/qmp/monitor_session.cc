#include "examples/hypervisor/qmp/monitor_session.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// As many as QEMU queues.
constexpr size_t kQueuedRequestsMax = 8;
// With this much unsent the client is not served, nor read from, until it reads.
constexpr size_t kUnsentBytesHigh = 1 << 20;
// QEMU ends its lines like this, and clients read lines.
constexpr std::string_view kLineEnd = "\r\n";

bool IsDeeperThan(const json::value& value, size_t levels) {
  if (!value.is_object() && !value.is_array()) return false;
  if (levels == 0) return true;
  if (value.is_array()) {
    return std::any_of(
        value.get_array().begin(), value.get_array().end(),
        [&](const json::value& element) { return IsDeeperThan(element, levels - 1); });
  }
  return std::any_of(value.get_object().begin(), value.get_object().end(),
                     [&](const auto& member) { return IsDeeperThan(member.value(), levels - 1); });
}

absl::Status WrongMember(std::string_view name, std::string_view what) {
  return GenericError(StrCat("QMP input member '", name, "' ", what));
}

absl::Status ReadRequest(json::value& value, MonitorRequest* request) {
  if (!value.is_object()) return GenericError("QMP input must be a JSON object");
  bool has_command = false;
  for (auto& member : value.get_object()) {
    const std::string_view name = View(member.key());
    if (name == "execute") {
      if (!member.value().is_string()) return WrongMember(name, "must be a string");
      request->command = View(member.value().get_string());
      has_command = true;
    } else if (name == "arguments") {
      if (!member.value().is_object()) return WrongMember(name, "must be an object");
      request->is_too_deep = IsDeeperThan(member.value(), MonitorRequest::kArgumentDepthMax);
      request->arguments = std::move(member.value().get_object());
    } else if (name != "id") {
      return WrongMember(name, "is unexpected");
    }
  }
  return has_command ? absl::OkStatus() : GenericError("QMP input lacks member 'execute'");
}

}  // namespace

MonitorSession::MonitorSession(std::unique_ptr<Connection> connection, JsonLayout layout,
                               std::function<void()> on_change)
    : connection_(std::move(connection)), layout_(layout), on_change_(std::move(on_change)) {
  connection_->SetDescriptorSink([this](int fd) { arrived_ = PassedDescriptor(fd); });
}

void MonitorSession::Start(const json::object& version) {
  json::object greeting;
  greeting["version"] = version;
  greeting["capabilities"] = json::array();
  json::object message;
  message["QMP"] = std::move(greeting);
  SendLine(TextRope(FormatJson(message, layout_)));
  connection_->Start(
      [this](std::string_view bytes) {
        input_.Feed(bytes,
                    [this](absl::StatusOr<json::value> value) { OnValue(std::move(value)); });
        UpdateReading();
        on_change_();
      },
      [this] { OnEnd(); },
      [this] {
        // A long reply may have stopped the reading.
        UpdateReading();
        on_change_();
      });
}

void MonitorSession::OnEnd() {
  // An unfinished request of a client that is gone is nobody's mistake.
  has_ended_ = true;
  on_change_();
}

void MonitorSession::OnValue(absl::StatusOr<json::value> value) {
  auto request = std::make_unique<MonitorRequest>();
  if (!value.ok()) {
    request->mistake = value.status();
  } else {
    if (value->is_object()) {
      const json::value* const id = value->get_object().if_contains("id");
      // Its text is kept, not the value, which may nest deeper than a coroutine can recurse.
      if (id != nullptr) request->id = FormatJson(*id, layout_, 1);
    }
    request->mistake = ReadRequest(*value, request.get());
  }
  request->descriptor = std::move(arrived_);
  requests_.push_back(std::move(request));
}

bool MonitorSession::has_servable_request() const {
  if (requests_.empty()) return false;
  return connection_->is_broken() || connection_->unsent_bytes() <= kUnsentBytesHigh;
}

std::unique_ptr<MonitorRequest> MonitorSession::TakeRequest() {
  std::unique_ptr<MonitorRequest> request = std::move(requests_.front());
  requests_.pop_front();
  PassedDescriptor older = std::move(left_over_);
  if (!request->descriptor.is_valid()) request->descriptor = std::move(older);
  UpdateReading();
  return request;
}

void MonitorSession::UpdateReading() {
  connection_->SetReading(requests_.size() < kQueuedRequestsMax &&
                          connection_->unsent_bytes() <= kUnsentBytesHigh);
}

void MonitorSession::SendReply(const MonitorRequest& request, TextRope result) {
  Send("return", std::move(result), request.id);
}

void MonitorSession::SendError(const MonitorRequest& request, const QmpErrorReply& error) {
  Send("error", TextRope(FormatJson(ToJson(error), layout_, 1)), request.id);
}

void MonitorSession::Send(std::string_view member, TextRope value, const std::string& id) {
  const bool is_pretty = layout_ == JsonLayout::kPretty;
  const std::string_view indent = is_pretty ? "\n    " : "";
  const std::string_view comma = is_pretty ? "," : ", ";
  // QEMU's dictionary has "return" before "id", and "error" behind it.
  const bool is_id_first = member == "error";
  std::string begin(StrCat("{", indent));
  std::string end;
  if (!id.empty() && is_id_first) StrAppend(&begin, "\"id\": ", id, comma, indent);
  if (!id.empty() && !is_id_first) StrAppend(&end, comma, indent, "\"id\": ", id);
  StrAppend(&begin, "\"", member, "\": ");
  StrAppend(&end, is_pretty ? "\n}" : "}");
  TextRope message(std::move(begin));
  message.Append(std::move(value));
  message.Append(std::move(end));
  message.Append(std::string(kLineEnd));
  connection_->WriteReply(std::move(message));
}

void MonitorSession::SendEvent(const json::object& event) {
  if (has_negotiated_) SendLine(TextRope(FormatJson(event, layout_)));
}

void MonitorSession::SendLine(TextRope line) {
  line.Append(std::string(kLineEnd));
  connection_->Write(std::move(line));
}

void MonitorSession::Flush() {
  connection_->Flush();
  UpdateReading();
}

bool MonitorSession::is_over() const {
  if (connection_->is_broken()) return requests_.empty();
  return has_ended_ && requests_.empty() && connection_->unsent_bytes() == 0;
}

}  // namespace millrace
