// QmpClient: talks to a daemon over its QMP socket: commands and their replies, events in between.
//
//   MILLRACE_ASSIGN_OR_RETURN(auto client, QmpClient::Connect("/tmp/qmp"));
//   MILLRACE_ASSIGN_OR_RETURN(json::value jobs, client->Execute("query-jobs"));
//
// Blocks the calling thread; needs no engine. Not for several threads.
#ifndef MILLRACE_EXAMPLES_COMMON_QMP_CLIENT_H_
#define MILLRACE_EXAMPLES_COMMON_QMP_CLIENT_H_

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"
#include "examples/hypervisor/qmp/json_text.h"

namespace millrace {

class QmpClient {
 public:
  using Timeout = std::chrono::milliseconds;

  // Connects, reads the greeting and negotiates. Unavailable: nobody listens there, or it does not
  // speak QMP.
  static absl::StatusOr<std::unique_ptr<QmpClient>> Connect(const std::string& socket_path);
  ~QmpClient();
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;

  // The value of "return". An error of the daemon's is a QMP error (qmp_error.h) with its class,
  // text and data. Unavailable: the daemon is gone, or has not answered for half a minute.
  absl::StatusOr<json::value> Execute(std::string_view command, json::object arguments = {});

  // The oldest event that was not taken yet; waits for one for at most `timeout`. Unavailable: the
  // daemon is gone.
  absl::StatusOr<std::optional<json::object>> NextEvent(Timeout timeout);

 private:
  explicit QmpClient(int fd) : fd_(fd) {}
  absl::Status Negotiate();
  // Waits until more has come; false if the time is over.
  absl::StatusOr<bool> Receive(Timeout timeout);
  absl::Status Send(std::string_view text);
  void Take(json::value message);

  const int fd_;
  JsonStream stream_;
  std::deque<json::object> replies_;
  std::deque<json::object> events_;
  uint64_t next_id_ = 1;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_QMP_CLIENT_H_
