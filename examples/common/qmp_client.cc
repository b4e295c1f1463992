#include "examples/common/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr QmpClient::Timeout kGreetingTimeout = std::chrono::seconds(5);
constexpr QmpClient::Timeout kReplyTimeout = std::chrono::seconds(30);

std::string TextOf(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value != nullptr && value->is_string() ? std::string(View(value->get_string())) : "";
}

absl::Status ErrorOf(const json::object& error) {
  const json::value* data = error.if_contains("data");
  return QmpError(TextOf(error, "class"), TextOf(error, "desc"),
                  data != nullptr && data->is_object() ? data->get_object() : json::object());
}

}  // namespace

absl::StatusOr<std::unique_ptr<QmpClient>> QmpClient::Connect(const std::string& socket_path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        StrCat("the path '", socket_path, "' is too long for a socket; use a shorter one"));
  }
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(StrCat("no socket: ", std::strerror(errno)));
  std::unique_ptr<QmpClient> client(new QmpClient(fd));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::UnavailableError(
        StrCat("cannot connect to '", socket_path, "': ", std::strerror(errno),
               "; start millraced with --chardev socket,id=qmp,path=", socket_path,
               ",server=on,wait=off --monitor qmp"));
  }
  MILLRACE_RETURN_IF_ERROR(client->Negotiate());
  return client;
}

QmpClient::~QmpClient() { close(fd_); }

absl::Status QmpClient::Negotiate() {
  while (replies_.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const bool has_come, Receive(kGreetingTimeout));
    if (!has_come) {
      return absl::UnavailableError(
          "there is no QMP greeting: it is no QMP socket, or somebody else is connected to it; a "
          "monitor serves one client at a time, so give the daemon one more");
    }
  }
  const bool is_greeting = replies_.front().contains("QMP");
  replies_.pop_front();
  if (!is_greeting) return absl::UnavailableError("what greets us is not QMP");
  return Execute("qmp_capabilities").status();
}

absl::StatusOr<json::value> QmpClient::Execute(std::string_view command, json::object arguments) {
  json::object request = {{"execute", json::string_view(command.data(), command.size())},
                          {"id", next_id_++}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  MILLRACE_RETURN_IF_ERROR(Send(FormatJson(request, JsonLayout::kLine) + "\n"));
  while (replies_.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const bool has_come, Receive(kReplyTimeout));
    if (!has_come) {
      return absl::UnavailableError(StrCat("the daemon does not answer '", command, "'"));
    }
  }
  json::object reply = std::move(replies_.front());
  replies_.pop_front();
  if (const json::value* error = reply.if_contains("error"); error != nullptr) {
    return error->is_object() ? ErrorOf(error->get_object())
                              : absl::UnavailableError("the daemon's error is no object");
  }
  return std::move(reply["return"]);
}

absl::StatusOr<std::optional<json::object>> QmpClient::NextEvent(Timeout timeout) {
  if (events_.empty()) MILLRACE_RETURN_IF_ERROR(Receive(timeout).status());
  if (events_.empty()) return std::optional<json::object>();
  std::optional<json::object> event(std::move(events_.front()));
  events_.pop_front();
  return event;
}

absl::StatusOr<bool> QmpClient::Receive(Timeout timeout) {
  pollfd waiting = {fd_, POLLIN, 0};
  const int ready = poll(&waiting, 1, static_cast<int>(timeout.count()));
  if (ready == 0 || (ready < 0 && errno == EINTR)) return false;
  char buffer[65536];
  const ssize_t bytes = read(fd_, buffer, sizeof(buffer));
  if (bytes <= 0) return absl::UnavailableError("the daemon has closed the connection");
  absl::Status status;
  stream_.Feed(std::string_view(buffer, static_cast<size_t>(bytes)),
               [&](absl::StatusOr<json::value> message) {
                 if (message.ok()) {
                   Take(*std::move(message));
                 } else {
                   status.Update(message.status());
                 }
               });
  if (!status.ok()) return status;
  return true;
}

void QmpClient::Take(json::value message) {
  if (!message.is_object()) return;
  std::deque<json::object>& queue = message.get_object().contains("event") ? events_ : replies_;
  queue.push_back(std::move(message.get_object()));
}

absl::Status QmpClient::Send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return absl::UnavailableError("the daemon has closed the connection");
    text.remove_prefix(static_cast<size_t>(bytes));
  }
  return absl::OkStatus();
}

}  // namespace millrace
