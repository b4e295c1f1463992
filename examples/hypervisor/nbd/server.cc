#include "examples/hypervisor/nbd/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "examples/hypervisor/nbd/socket_stream.h"
#include "millrace/engine/base/status_macros.h"

namespace millrace {
namespace {

// With more clients there is mostly something to do, and looking costs more.
constexpr size_t kLookedAtMax = 8;

}  // namespace

struct NbdServer::Listener {
  Listener(NbdServer& server, int listening)
      : fd(listening),
        watch(server.loop_, listening, [this, &server](short) { server.Accept(*this); }) {}
  ~Listener() { close(fd); }

  const int fd;
  EventLoop::Watch watch;
};

struct NbdServer::Connection {
  Connection(NbdServer& server, int socket)
      : fd(socket),
        session(server.engine_, server, std::make_unique<SocketStream>(socket)),
        watch(server.loop_, socket, [this, &server](short) { server.Serve(*this); }) {
    session.set_host_data(this);
  }
  ~Connection() { close(fd); }

  const int fd;
  NbdSession session;
  EventLoop::Watch watch;
  bool is_changed = false;
};

absl::StatusOr<std::unique_ptr<NbdServer>> NbdServer::Start(EventLoop& loop, Engine& engine,
                                                            const Exports& exports,
                                                            NbdServerOptions options) {
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<int> sockets, Listen(options.address));
  std::unique_ptr<NbdServer> server(new NbdServer(loop, engine, exports, std::move(options)));
  for (const int fd : sockets) {
    server->listeners_.push_back(std::make_unique<Listener>(*server, fd));
  }
  server->WatchListeners();
  return server;
}

NbdServer::NbdServer(EventLoop& loop, Engine& engine, const Exports& exports,
                     NbdServerOptions options)
    : loop_(loop),
      engine_(engine),
      exports_(exports),
      options_(std::move(options)),
      retry_(
          "nbd accept again", [](void* self) { static_cast<NbdServer*>(self)->WatchListeners(); },
          this),
      emptied_("clients of the NBD server") {}

NbdServer::~NbdServer() = default;

// ---- Clients come ------------------------------------------------------------------------------

void NbdServer::WatchListeners() {
  // Who is too many waits in the queue of the socket.
  const bool has_room =
      options_.connections_max == 0 || connections_.size() < options_.connections_max;
  for (const std::unique_ptr<Listener>& listener : listeners_) {
    listener->watch.SetEvents(has_room ? POLLIN : 0);
  }
}

void NbdServer::Accept(Listener& listener) {
  const int fd = accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    // Gone again; or no descriptor is left, and the socket would say so in every turn.
    if (errno != EAGAIN && errno != ECONNABORTED) {
      listener.watch.SetEvents(0);
      engine_.scheduler().Arm(retry_, engine_.clock().Now() + 100 * kMillisecond);
    }
    return;
  }
  const int on = 1;
  if (options_.address.kind == SocketAddress::Kind::kInet) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options_.address.keeps_alive) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  }
  Connect(fd);
}

void NbdServer::Connect(int fd) {
  connections_.push_back(std::make_unique<Connection>(*this, fd));
  WatchListeners();
  Serve(*connections_.back());
}

void NbdServer::Serve(Connection& connection) {
  connection.session.Service();
  UpdateEvents(connection);
}

void NbdServer::UpdateEvents(Connection& connection) {
  const int events = (connection.session.wants_read() ? POLLIN : 0) |
                     (connection.session.wants_write() ? POLLOUT : 0);
  connection.watch.SetEvents(static_cast<short>(events));
}

// ---- Between turns -----------------------------------------------------------------------------

void NbdServer::OnChanged(NbdSession& session) {
  if (session.is_finished()) has_finished_ = true;
  auto* const connection = static_cast<Connection*>(session.host_data());
  if (connection->is_changed) return;
  connection->is_changed = true;
  changed_.push_back(connection);
}

void NbdServer::OnMemoryGiven() {
  for (const std::unique_ptr<Connection>& connection : connections_) {
    if (connection->session.waits_for_memory()) OnChanged(connection->session);
  }
}

void NbdServer::Housekeep() {
  // Serving one may change another, which is then served in the next turn.
  std::vector<Connection*> changed = std::exchange(changed_, {});
  for (Connection* connection : changed) {
    connection->is_changed = false;
    connection->session.GoOn();
    UpdateEvents(*connection);
  }
  if (has_finished_) Reap();
  if (changed_.empty() && !changed.empty()) LookForRequests();
  if (!changed_.empty()) engine_.Post([] {});  // the turn after this one does not wait
}

// Replies have just been sent, and there may be nothing else to do than to wait for the disk: their
// clients may ask again within less time than it takes to fall asleep and be woken.
void NbdServer::LookForRequests() {
  if (engine_.HasWork() || engine_.io().has_news() || connections_.size() > kLookedAtMax) return;
  std::array<pollfd, kLookedAtMax> sockets = {};
  std::array<Connection*, kLookedAtMax> askers = {};
  nfds_t count = 0;
  for (const std::unique_ptr<Connection>& each : connections_) {
    if (!each->session.wants_read()) continue;
    askers[count] = each.get();
    sockets[count++] = {each->fd, POLLIN, 0};
  }
  if (count == 0 || !busy_wait_.ShouldLook()) return;
  const Nanoseconds end = engine_.clock().Now() + BusyWait::kTimeMax;
  int ready = 0;
  do {
    ready = poll(sockets.data(), count, 0);
  } while (ready == 0 && !engine_.io().has_news() && engine_.clock().Now() < end);
  busy_wait_.OnLooked(ready > 0);
  for (nfds_t i = 0; i < count && ready > 0; ++i) {
    if (sockets[i].revents != 0) Serve(*askers[i]);
  }
}

void NbdServer::Reap() {
  has_finished_ = false;
  const auto is_finished = [](const std::unique_ptr<Connection>& connection) {
    return connection->session.is_finished();
  };
  std::erase_if(changed_, [](Connection* each) { return each->session.is_finished(); });
  std::erase_if(connections_, is_finished);
  WatchListeners();
  if (connections_.empty()) emptied_.Notify();
}

// ---- What there is -----------------------------------------------------------------------------

std::shared_ptr<NbdDisk> NbdServer::FindDisk(std::string_view name) const {
  for (const std::shared_ptr<NbdExport>& each : exports_) {
    if (!each->is_ending() && each->name() == name) return each;
  }
  return nullptr;
}

std::vector<std::shared_ptr<NbdDisk>> NbdServer::Disks() const {
  std::vector<std::shared_ptr<NbdDisk>> disks;
  // Oldest first, as QEMU lists them.
  for (auto each = exports_.rbegin(); each != exports_.rend(); ++each) {
    if (!(*each)->is_ending()) disks.push_back(*each);
  }
  return disks;
}

absl::StatusOr<std::unique_ptr<NbdStream>> NbdServer::StartTls(std::unique_ptr<NbdStream> plain) {
  return options_.tls->Wrap(std::move(plain), options_.authorizer);
}

size_t NbdServer::CountClients(const NbdExport& disk) const {
  return static_cast<size_t>(std::count_if(
      connections_.begin(), connections_.end(), [&](const std::unique_ptr<Connection>& each) {
        return each->session.disk() == &disk && !each->session.is_finished();
      }));
}

// ---- The end -----------------------------------------------------------------------------------

void NbdServer::Disconnect(const NbdExport& disk) {
  for (const std::unique_ptr<Connection>& each : connections_) {
    if (each->session.disk() == &disk) each->session.Close();
  }
}

void NbdServer::CoStop() {
  is_stopping_ = true;
  listeners_.clear();
  engine_.scheduler().Disarm(retry_);
  const SocketAddress& address = options_.address;
  if (address.kind == SocketAddress::Kind::kUnix && !address.place.is_abstract) {
    unlink(address.place.path.c_str());
  }
  for (const std::unique_ptr<Connection>& each : connections_) each->session.Close();
  emptied_.CoWaitUntil([this] { return connections_.empty(); });
}

}  // namespace millrace
