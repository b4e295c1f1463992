// NbdServer: listens, and keeps the sessions of the clients that connect.
//
// One turn of the event loop: sockets that are ready are served, the engine does its part, then
// every session in which something was completed sends all its replies at once (Housekeep). Where
// that has paid, and there is nothing else to do, it then looks for their clients' next requests
// for some microseconds before the loop sleeps (BusyWait). Home thread only; nothing here suspends
// but CoStop().
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_SERVER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/nbd/export.h"
#include "examples/hypervisor/nbd/session.h"
#include "examples/hypervisor/nbd/socket_address.h"
#include "examples/hypervisor/nbd/tls.h"
#include "examples/hypervisor/process/busy_wait.h"
#include "examples/hypervisor/process/event_loop.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

struct NbdServerOptions {
  static constexpr uint32_t kConnectionsMaxDefault = 100;

  SocketAddress address;
  uint32_t connections_max = kConnectionsMaxDefault;  // 0: any number
  std::shared_ptr<const NbdTlsCredentials> tls;       // null: in the clear
  NbdAuthorizer authorizer;
};

class NbdServer final : public NbdSessionHost {
 public:
  // Newest first, as clients and QMP see them; outlives the server.
  using Exports = std::vector<std::shared_ptr<NbdExport>>;

  // Starts to listen. Errors in QEMU's words.
  static absl::StatusOr<std::unique_ptr<NbdServer>> Start(EventLoop& loop, Engine& engine,
                                                          const Exports& exports,
                                                          NbdServerOptions options);
  // It must have been stopped (checked by the sessions).
  ~NbdServer();

  // Nobody can connect any more, and everybody is cut off; returns when no request of a client is
  // under way.
  void CoStop() MILLRACE_MAY_SUSPEND;
  // Cuts off the clients of one export.
  void Disconnect(const NbdExport& disk);
  size_t CountClients(const NbdExport& disk) const;

  // In every turn of the event loop.
  void Housekeep();

  Tls tls() const override { return options_.tls == nullptr ? Tls::kNone : Tls::kRequired; }
  bool is_shutting_down() const override { return is_stopping_; }
  bool allows_many_connections() const override { return options_.connections_max != 1; }
  std::shared_ptr<NbdDisk> FindDisk(std::string_view name) const override;
  std::vector<std::shared_ptr<NbdDisk>> Disks() const override;
  absl::StatusOr<std::unique_ptr<NbdStream>> StartTls(std::unique_ptr<NbdStream> plain) override;
  void OnChanged(NbdSession& session) override;
  void OnMemoryGiven() override;
  NbdMemoryBudget& memory() override { return memory_; }

 private:
  struct Connection;
  struct Listener;

  NbdServer(EventLoop& loop, Engine& engine, const Exports& exports, NbdServerOptions options);
  void Accept(Listener& listener);
  void Connect(int fd);
  void WatchListeners();
  void Serve(Connection& connection);
  void UpdateEvents(Connection& connection);
  void Reap();
  void LookForRequests();

  // For all clients together; a quarter of the engine's pool is left to others.
  static constexpr uint64_t kMemoryBytesMax = uint64_t{768} << 20;

  EventLoop& loop_;
  Engine& engine_;
  const Exports& exports_;
  const NbdServerOptions options_;
  NbdMemoryBudget memory_{kMemoryBytesMax};
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> changed_;
  bool has_finished_ = false;  // some session is
  bool is_stopping_ = false;
  BusyWait busy_wait_;
  Timer retry_;
  Condition emptied_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_SERVER_H_
