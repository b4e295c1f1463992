#include "examples/hypervisor/process/chardev.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/options/option_table.h"
#include "examples/hypervisor/process/unix_socket.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {
namespace {

// As QEMU spells it.
std::string InWords(const SocketPlace& place) {
  if (!place.is_abstract) return StrCat("unix:", place.path);
  return StrCat("unix:", place.path, ",abstract=on", place.is_tight ? ",tight=on" : "");
}

// A listening socket: clients one after another.
class ServerChardev final : public Chardev {
 public:
  ServerChardev(EventLoop& loop, int fd, SocketPlace place, bool waits)
      : loop_(loop),
        fd_(fd),
        place_(std::move(place)),
        waits_(waits),
        connected_("client of a chardev"),
        watch_(loop, fd, [this](short) { Accept(); }),
        retry_(
            "chardev accept again",
            [](void* self) { static_cast<ServerChardev*>(self)->watch_.SetEvents(POLLIN); }, this) {
    watch_.SetEvents(POLLIN);
  }
  ~ServerChardev() override {
    loop_.engine().scheduler().Disarm(retry_);
    close(fd_);
    if (!place_.path.empty() && !place_.is_abstract) unlink(place_.path.c_str());
  }
  std::string place() const override { return StrCat(InWords(place_), ",server=on"); }
  void OnDisconnected() override { watch_.SetEvents(POLLIN); }
  absl::Status CoWaitForClient() MILLRACE_MAY_SUSPEND override {
    return waits_ ? connected_.CoWaitCancellable() : absl::OkStatus();
  }

 private:
  void Accept() {
    const int client = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) RetryLater();
      return;
    }
    // The next one stays in the queue of the socket until this one is over.
    watch_.SetEvents(0);
    connected_.Set();
    HandOver(std::make_unique<Connection>(loop_, client, client));
  }

  // No descriptor is left: the socket would say in every turn that somebody waits.
  void RetryLater() {
    watch_.SetEvents(0);
    Engine& engine = loop_.engine();
    engine.scheduler().Arm(retry_, engine.clock().Now() + kRetryTime);
  }

  static constexpr Nanoseconds kRetryTime = 100 * kMillisecond;

  EventLoop& loop_;
  const int fd_;
  const SocketPlace place_;
  const bool waits_;
  Event connected_;
  EventLoop::Watch watch_;
  Timer retry_;
};

// A stream that is there from the start, and never comes back.
class StreamChardev final : public Chardev {
 public:
  StreamChardev(EventLoop& loop, int input, int output, std::string place)
      : place_(std::move(place)) {
    HandOver(std::make_unique<Connection>(loop, input, output));
  }
  std::string place() const override { return place_; }

 private:
  const std::string place_;
};

class NullChardev final : public Chardev {
 public:
  std::string place() const override { return "null"; }
};

absl::Status InvalidParameter(std::string_view name) {
  return GenericError(StrCat("Invalid parameter '", name, "'"));
}

// The members of a chardev's options are named like this when they are misspelt.
absl::Status CheckMembers(const json::object& options,
                          std::initializer_list<std::string_view> known) {
  for (const auto& member : options) {
    const std::string_view name = View(member.key());
    if (std::find(known.begin(), known.end(), name) == known.end()) return InvalidParameter(name);
  }
  return absl::OkStatus();
}

absl::StatusOr<int> ParseFd(const std::string& text) {
  const bool is_number =
      !text.empty() && text.size() < 9 && text.find_first_not_of("0123456789") == text.npos;
  if (!is_number) return GenericError(StrCat("Unable to parse FD number ", text));
  const int fd = std::stoi(text);
  MILLRACE_RETURN_IF_ERROR(AdoptSocket(fd, StrCat(fd)));
  return fd;
}

// What every backend of QEMU has: a copy of what is said, and several users of one stream. Neither
// is there, and nobody shall believe that it is; without them the rest says nothing.
absl::Status RefuseLogAndMux(ArgumentReader& reader) {
  const bool has_log = reader.OptionalString("logfile").has_value();
  reader.OptionalBool("logappend");
  const bool is_shared = reader.OptionalBool("mux").value_or(false);
  reader.AcceptRest();
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (has_log) {
    return GenericError("millraced keeps no log of what a chardev is told: leave 'logfile' away");
  }
  if (is_shared) {
    return GenericError("a chardev of millraced has one user: leave 'mux' away, or say mux=off");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Chardev>> MakeSocket(EventLoop& loop, const OptionValue& value) {
  // Keep-alives, reconnecting and TCP are of no use to a local control socket; there is nothing to
  // delay on it either.
  MILLRACE_RETURN_IF_ERROR(
      CheckMembers(value.object, {"backend", "id", "path", "fd", "server", "wait", "abstract",
                                  "tight", "delay", "nodelay", "logfile", "logappend", "mux"}));
  ArgumentReader reader = value.Reader();
  const bool is_server = reader.OptionalBool("server").value_or(false);
  const std::optional<bool> waits = reader.OptionalBool("wait");
  const std::optional<std::string> path = reader.OptionalString("path");
  const std::optional<std::string> fd_text = reader.OptionalString("fd");
  SocketPlace place;
  place.path = path.value_or("");
  place.is_abstract = reader.OptionalBool("abstract").value_or(false);
  place.is_tight = reader.OptionalBool("tight").value_or(true);
  for (const std::string_view name : {"delay", "nodelay"}) reader.OptionalBool(name);
  MILLRACE_RETURN_IF_ERROR(RefuseLogAndMux(reader));
  if (path.has_value() && fd_text.has_value()) {
    return GenericError("None or one of 'path', 'fd' or 'host' option required.");
  }
  if (waits.has_value() && !is_server) {
    return GenericError("'wait' option is incompatible with socket in client connect mode");
  }
  if (path.has_value() && is_server) {
    MILLRACE_ASSIGN_OR_RETURN(const int listener, ListenAt(place));
    return std::make_unique<ServerChardev>(loop, listener, place, waits.value_or(true));
  }
  if (path.has_value()) {
    MILLRACE_ASSIGN_OR_RETURN(const int fd, ConnectTo(place));
    return std::make_unique<StreamChardev>(loop, fd, fd, InWords(place));
  }
  MILLRACE_ASSIGN_OR_RETURN(const int fd, ParseFd(fd_text.value_or("")));
  if (is_server)
    return std::make_unique<ServerChardev>(loop, fd, SocketPlace(), waits.value_or(true));
  return std::make_unique<StreamChardev>(loop, fd, fd, "unix:");
}

}  // namespace

void Chardev::Activate(OnConnected on_connected) {
  on_connected_ = std::move(on_connected);
  if (waiting_ != nullptr) on_connected_(std::move(waiting_));
}

void Chardev::HandOver(std::unique_ptr<Connection> connection) {
  if (on_connected_) {
    on_connected_(std::move(connection));
  } else {
    waiting_ = std::move(connection);
  }
}

absl::StatusOr<std::unique_ptr<Chardev>> ChardevTable::Make(std::string_view backend,
                                                            const OptionValue& value) {
  if (backend == "socket") return MakeSocket(loop_, value);
  ArgumentReader reader = value.Reader();
  if (backend == "null") {
    MILLRACE_RETURN_IF_ERROR(
        CheckMembers(value.object, {"backend", "id", "logfile", "logappend", "mux"}));
    MILLRACE_RETURN_IF_ERROR(RefuseLogAndMux(reader));
    return std::make_unique<NullChardev>();
  }
  if (backend != "stdio") {
    return GenericError(StrCat("'", backend, "' is not a valid char driver name"));
  }
  // Whether a terminal turns keys into signals is left as whoever started us has set it.
  MILLRACE_RETURN_IF_ERROR(
      CheckMembers(value.object, {"backend", "id", "signal", "logfile", "logappend", "mux"}));
  reader.OptionalBool("signal");
  MILLRACE_RETURN_IF_ERROR(RefuseLogAndMux(reader));
  if (!may_use_stdio_) return GenericError("cannot use stdio with -daemonize");
  if (is_stdio_used_) return GenericError("cannot use stdio by multiple character devices");
  is_stdio_used_ = true;
  return std::make_unique<StreamChardev>(loop_, STDIN_FILENO, STDOUT_FILENO, "stdio");
}

absl::Status ChardevTable::CoAddFromOption(std::string_view text) {
  if (text == "help" || text == "?") {
    return Help("Available chardev backend types: \n  socket\n  stdio\n  null\n");
  }
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseLegacyOptions(text, "backend"));
  ArgumentReader reader = value.Reader();
  const std::string backend = reader.OptionalString("backend").value_or("");
  const std::optional<std::string> id = reader.OptionalString("id");
  reader.AcceptRest();
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!id.has_value()) return GenericError("chardev: no id specified");
  if (!IsIdentifier(*id)) return GenericError("Parameter 'id' expects an identifier");
  return CoAdd(*id, backend, value);
}

absl::Status ChardevTable::CoAdd(std::string_view id, std::string_view backend,
                                 const OptionValue& value) {
  if (Find(id) != nullptr && backend == "socket") return GenericError("duplicate yank instance");
  if (Find(id) != nullptr) {
    return GenericError(
        StrCat("attempt to add duplicate property '", id, "' to object (type 'container')"));
  }
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Chardev> chardev, Make(backend, value));
  Chardev& added = *chardevs_.emplace(id, std::move(chardev)).first->second;
  return added.CoWaitForClient();
}

absl::StatusOr<std::string> ChardevTable::CoAddFromPlace(std::string_view place,
                                                         std::string_view id) {
  constexpr std::string_view kExisting = "chardev:";
  constexpr std::string_view kUnix = "unix:";
  if (place.starts_with(kExisting)) {
    const std::string_view name = place.substr(kExisting.size());
    if (Find(name) == nullptr) return GenericError(StrCat("chardev \"", name, "\" not found"));
    return std::string(name);
  }
  const bool is_unix = place.starts_with(kUnix);
  if (!is_unix && place != "stdio" && place != "null") {
    return GenericError(StrCat("'", place, "' is not a valid char driver"));
  }
  MILLRACE_ASSIGN_OR_RETURN(
      const OptionValue value,
      is_unix ? ParseLegacyOptions(place.substr(kUnix.size()), "path") : OptionValue());
  MILLRACE_RETURN_IF_ERROR(CoAdd(id, is_unix ? "socket" : place, value));
  return std::string(id);
}

std::vector<ChardevTable::Description> ChardevTable::Describe() const {
  std::vector<Description> shown;
  for (const auto& [id, chardev] : chardevs_) {
    shown.push_back({id, chardev->place(), chardev->has_user()});
  }
  return shown;
}

Chardev* ChardevTable::Find(std::string_view id) const {
  const auto found = chardevs_.find(id);
  return found == chardevs_.end() ? nullptr : found->second.get();
}

}  // namespace millrace
