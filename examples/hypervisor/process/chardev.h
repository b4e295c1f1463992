// Chardev: a named place where clients connect (--chardev), and the table of them.
//
// A chardev has one client at a time, and at most one user, a monitor, to whom it hands each new
// connection. Until the user is activated, connections wait: the first greeting is sent when
// everything else is open. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CHARDEV_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CHARDEV_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/process/connection.h"
#include "examples/hypervisor/process/event_loop.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/event.h"

namespace millrace {

class Chardev {
 public:
  using OnConnected = std::function<void(std::unique_ptr<Connection>)>;

  virtual ~Chardev() = default;
  bool has_user() const { return has_user_; }
  void ReserveForUser() { has_user_ = true; }
  // From now on connections are handed over, beginning with one that waits.
  void Activate(OnConnected on_connected);
  // Where it leads, as clients are told: "stdio", "unix:/tmp/qmp,server=on".
  virtual std::string place() const = 0;
  // The user is done with the connection: another client may come, if it is a server.
  virtual void OnDisconnected() {}
  // Waits for the first client, where that was asked for. CancelledError if the scope is cancelled.
  virtual absl::Status CoWaitForClient() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }

 protected:
  void HandOver(std::unique_ptr<Connection> connection);

 private:
  bool has_user_ = false;
  OnConnected on_connected_;
  std::unique_ptr<Connection> waiting_;
};

class ChardevTable {
 public:
  ChardevTable(EventLoop& loop, bool may_use_stdio) : loop_(loop), may_use_stdio_(may_use_stdio) {}
  ChardevTable(const ChardevTable&) = delete;
  ChardevTable& operator=(const ChardevTable&) = delete;

  // The argument of --chardev: "socket,id=..,path=..[,server=on][,wait=off]", "socket,id=..,fd=N",
  // "stdio,id=..", "null,id=..". Suspends while a server waits for its first client.
  absl::Status CoAddFromOption(std::string_view text) MILLRACE_MAY_SUSPEND;
  // A place in short, as -qmp and its fellows are given it: "stdio", "null",
  // "unix:PATH[,server=on][,wait=off]" becomes a chardev under `id`; "chardev:ID" is one that is
  // there. Which one it is.
  absl::StatusOr<std::string> CoAddFromPlace(std::string_view place, std::string_view id)
      MILLRACE_MAY_SUSPEND;
  struct Description {
    std::string id;
    std::string place;
    bool has_user = false;
  };
  // In order of the alphabet.
  std::vector<Description> Describe() const;
  // Null if there is none.
  Chardev* Find(std::string_view id) const;

 private:
  absl::StatusOr<std::unique_ptr<Chardev>> Make(std::string_view backend, const OptionValue& value);
  absl::Status CoAdd(std::string_view id, std::string_view backend, const OptionValue& value)
      MILLRACE_MAY_SUSPEND;

  EventLoop& loop_;
  const bool may_use_stdio_;
  bool is_stdio_used_ = false;
  std::map<std::string, std::unique_ptr<Chardev>, std::less<>> chardevs_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CHARDEV_H_
