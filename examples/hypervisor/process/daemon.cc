#include "examples/hypervisor/process/daemon.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/process/background.h"
#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/process/core_commands.h"
#include "examples/hypervisor/process/event_loop.h"
#include "examples/hypervisor/process/fd_commands.h"
#include "examples/hypervisor/process/fd_sets.h"
#include "examples/hypervisor/process/machine_queries.h"
#include "examples/hypervisor/process/pid_file.h"
#include "examples/hypervisor/process/qtest_port.h"
#include "examples/hypervisor/process/secret_object.h"
#include "examples/hypervisor/process/signals.h"
#include "examples/hypervisor/qmp/monitor_hub.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace {
namespace {

// Replies describe chains of images by nesting, and are formatted by recursion.
constexpr size_t kStackBytes = 512 << 10;
// How long clients may take to read what was sent before the end.
constexpr int kFarewellMs = 2000;

class Daemon {
 public:
  Daemon(const CommandLine& line, ObserverRelay& observer, std::unique_ptr<Engine> engine)
      : settings_{line.program, line.open_gate_like_qemu, line.open_root},
        observer_(observer),
        engine_(std::move(engine)),
        loop_(*engine_),
        chardevs_(loop_, !line.daemonizes),
        hub_(commands_, renderer_, DescribeVersion()),
        host_{*engine_, loop_,    settings_, observer_, hub_,     commands_,
              hmp_,     objects_, options_,  fd_sets_,  renderer_},
        signals_(loop_, [this] { RequestShutdown("host-signal"); }) {
    hub_.SetTellsErrorData(line.tells_error_data);
    loop_.BeforeWait([this] { hub_.Housekeep(); });
  }

  int Run(const CommandLine& line, const std::vector<HypervisorPartFactory>& factories,
          Background& background) {
    Register(factories);
    const int status = RunOptions(line);
    if (status >= 0) {
      Shutdown();
      return status;
    }
    fd_sets_.CloseGiven();
    std::unique_ptr<PidFile> pid_file;
    if (line.pid_file.has_value()) {
      absl::StatusOr<std::unique_ptr<PidFile>> created = PidFile::Create(*line.pid_file);
      if (!created.ok()) {
        Complain(std::string(created.status().message()));
        Shutdown();
        return 1;
      }
      pid_file = *std::move(created);
    }
    background.Complete();
    hub_.Activate();
    Serve();
    Shutdown();
    return 0;
  }

 private:
  void Register(const std::vector<HypervisorPartFactory>& factories) {
    RegisterCoreCommands(host_, [this] { RequestShutdown("host-qmp-quit"); });
    RegisterIothreadType(objects_);
    RegisterSecretType(objects_);
    RegisterMachineQueries(commands_, chardevs_, identity_);
    options_.Register("chardev", [this](std::string_view text) MILLRACE_MAY_SUSPEND {
      return chardevs_.CoAddFromOption(text);
    });
    options_.Register(
        "monitor", [this](std::string_view text) { return hub_.AddFromOption(text, chardevs_); });
    RegisterMachineOptions();
    options_.Register("add-fd",
                      [this](std::string_view text) { return fd_sets_.AddFromOption(text); });
    hub_.SetDescriptorPlace(&fd_sets_.offered());
    RegisterFdCommands(commands_, fd_sets_);
    options_.Register("object", [this](std::string_view text) { return AddObject(text); });
    options_.SetPlanner("object", [this](std::string_view text) { return PlanObject(text); });
    for (const HypervisorPartFactory& factory : factories) parts_.push_back(factory(host_));
  }

  // What only QEMU's machines have, but for a human monitor.
  void RegisterMachineOptions() {
    options_.Register("qmp", [this](std::string_view place) MILLRACE_MAY_SUSPEND {
      return CoAddMonitorAt(place, /*is_pretty=*/false);
    });
    options_.Register("qmp-pretty", [this](std::string_view place) MILLRACE_MAY_SUSPEND {
      return CoAddMonitorAt(place, /*is_pretty=*/true);
    });
    options_.Register("qtest", [this](std::string_view place)
                                   MILLRACE_MAY_SUSPEND { return CoAddQtestAt(place); });
    options_.Register("name", [this](std::string_view text) { return identity_.SetName(text); });
    options_.Register("uuid", [this](std::string_view text) { return identity_.SetUuid(text); });
    for (const char* name : {"M", "machine"}) {
      options_.Register(name, [](std::string_view) {  // "help"
        return Help(
            "Supported machines are:\n"
            "none                 empty machine\n"
            "pc                   no machine, but its drives and guest devices (default)\n");
      });
    }
    options_.Register("incoming", [](std::string_view) {
      return GenericError("there is no migration in millraced: start it without -incoming");
    });
  }

  absl::Status CoAddMonitorAt(std::string_view place, bool is_pretty) MILLRACE_MAY_SUSPEND {
    const std::string new_id = StrCat("compat_monitor", short_monitors_++);
    MILLRACE_ASSIGN_OR_RETURN(const std::string id, chardevs_.CoAddFromPlace(place, new_id));
    return hub_.AddFromOption(StrCat(id, is_pretty ? ",pretty=on" : ""), chardevs_);
  }

  absl::Status CoAddQtestAt(std::string_view place) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(const std::string id, chardevs_.CoAddFromPlace(place, "qtest"));
    Chardev& chardev = *chardevs_.Find(id);
    if (chardev.has_user()) return GenericError(StrCat("Device '", id, "' is in use"));
    qtest_ports_.push_back(std::make_unique<QtestPort>(chardev));
    return absl::OkStatus();
  }

  absl::StatusOr<OptionValue> ReadObject(std::string_view text) const {
    if (text != "help") return ParseKeyval(text, "qom-type");
    std::string list = "List of user creatable objects:\n";
    for (const std::string& type : objects_.Types()) StrAppend(&list, "  ", type, "\n");
    return Help(list);
  }

  absl::Status AddObject(std::string_view text) {
    MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ReadObject(text));
    return objects_.Add(value.object, value.style);
  }

  PlanResult PlanObject(std::string_view text) const {
    MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ReadObject(text));
    return PlanObjectAdd(objects_, value.object, value.style);
  }

  // The exit status, or -1: go on.
  int RunOptions(const CommandLine& line) {
    TaskScope scope(engine_->scheduler(), "startup");
    startup_ = &scope;
    absl::Status status;
    std::string option;
    scope.Spawn("startup", [&]() MILLRACE_MAY_SUSPEND {
      for (const auto& [name, text, spelled] : line.options) {
        option = StrCat(spelled, " ", text);
        status = options_.Has(name) ? options_.CoRun(name, text)
                                    : absl::Status(GenericError("Not available in millraced"));
        if (!status.ok() || is_shutdown_requested_) return;
      }
    });
    loop_.RunUntil([&] { return IsOver(scope); });
    startup_ = nullptr;
    const absl::Status no_coroutine = scope.Finish();
    if (const std::optional<std::string> help = HelpOf(status)) {
      std::fputs(help->c_str(), stdout);
      return 0;
    }
    if (is_shutdown_requested_) return 0;
    if (status.ok() && no_coroutine.ok()) return -1;
    const QmpErrorReply reply = RenderError(status.ok() ? no_coroutine : status, renderer_);
    Complain(StrCat(option, ": ", reply.desc));
    if (!reply.hint.empty()) std::fprintf(stderr, "%s\n", reply.hint.c_str());
    return 1;
  }

  void Serve() {
    TaskScope scope(engine_->scheduler(), "monitors");
    scope.Spawn("monitors/dispatcher", [this]() MILLRACE_MAY_SUSPEND { hub_.CoServe(); });
    loop_.RunUntil([&] { return IsOver(scope); });
    const absl::Status status = scope.Finish();
    if (!status.ok()) Complain(std::string(status.message()));
  }

  // Asked in each turn. What runs when an end is asked for is finished, and must not wait for what
  // only another command could let go of.
  bool IsOver(const TaskScope& scope) {
    if (scope.live() == 0) return true;
    if (!is_shutdown_requested_) return false;
    HostScope host;
    for (const std::unique_ptr<HypervisorPart>& part : parts_) part->Hurry();
    return false;
  }

  void Shutdown() {
    TaskScope scope(engine_->scheduler(), "shutdown");
    scope.Spawn("shutdown", [this]() MILLRACE_MAY_SUSPEND {
      for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) (*part)->CoShutdown();
    });
    loop_.RunUntil([&] { return scope.live() == 0; });
    const absl::Status status = scope.Finish();
    if (!status.ok()) Complain(std::string(status.message()));
    objects_.Clear();
    loop_.RunUntil([this] { return !hub_.has_unsent(); }, kFarewellMs);
    while (!parts_.empty()) parts_.pop_back();
    observer_.SetTarget(nullptr);
  }

  void RequestShutdown(std::string_view reason) {
    if (std::exchange(is_shutdown_requested_, true)) return;
    hub_.Emit("SHUTDOWN",
              {{"guest", false}, {"reason", json::string_view(reason.data(), reason.size())}});
    hub_.Stop();
    if (startup_ != nullptr) startup_->Cancel();
  }

  void Complain(const std::string& text) const {
    std::fprintf(stderr, "%s: %s\n", settings_.program.c_str(), text.c_str());
  }

  const HypervisorSettings settings_;
  ObserverRelay& observer_;
  std::unique_ptr<Engine> engine_;
  EventLoop loop_;
  ChardevTable chardevs_;
  std::vector<std::unique_ptr<QtestPort>> qtest_ports_;
  MachineIdentity identity_;
  CommandTable commands_;
  HmpTable hmp_;
  ObjectRegistry objects_;
  OptionTable options_;
  FdSets fd_sets_;
  ErrorRenderer renderer_;
  MonitorHub hub_;
  HypervisorHost host_;
  std::vector<std::unique_ptr<HypervisorPart>> parts_;
  TerminationSignals signals_;
  int short_monitors_ = 0;
  TaskScope* startup_ = nullptr;  // while options are carried out
  bool is_shutdown_requested_ = false;
};

}  // namespace

int RunDaemon(const CommandLine& line, const std::vector<HypervisorPartFactory>& parts) {
  Background background;
  if (line.daemonizes) background.Enter();
  StackPool stacks(kStackBytes);
  ObserverRelay observer;
  Engine::Options options;
  options.observer = &observer;
  options.stacks = &stacks;
  options.io = line.io;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s: %s\n", line.program.c_str(),
                 std::string(engine.status().message()).c_str());
    return 1;
  }
  return Daemon(line, observer, *std::move(engine)).Run(line, parts, background);
}

}  // namespace millrace
