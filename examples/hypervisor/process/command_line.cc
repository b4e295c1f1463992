#include "examples/hypervisor/process/command_line.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/version.h"

namespace millrace {
namespace {

struct OptionName {
  std::string_view name;
  bool has_argument;
  char short_name;  // 0: none
};

constexpr OptionName kOptionNames[] = {
    {"add-fd", true, 0},     {"blockdev", true, 0},
    {"chardev", true, 0},    {"daemonize", false, 0},
    {"device", true, 0},     {"drive", true, 0},
    {"io", true, 0},         {"export", true, 0},
    {"help", false, 'h'},    {"monitor", true, 0},
    {"nbd-server", true, 0}, {"object", true, 0},
    {"open-gate", true, 0},  {"open-root", true, 0},
    {"pidfile", true, 0},    {"qmp-error-data", true, 0},
    {"trace", true, 'T'},    {"version", false, 'V'},
};

// What QEMU's command line says of a machine, which there is none of here: QEMU's clients say that
// they want none, or little of one. Some of it is told again when somebody asks.
struct MachineOption {
  std::string_view name;
  bool has_argument;
  bool has_effect = false;
  bool has_help = false;  // QEMU's `check` asks for a list of machines before it does anything
};

constexpr MachineOption kMachineOptions[] = {
    {"M", true, false, true},
    {"machine", true, false, true},
    {"accel", true},
    {"boot", true},
    {"cpu", true},
    {"display", true},
    {"enable-kvm", false},
    {"incoming", true, true},
    {"m", true},
    {"name", true, true},
    {"net", true},
    {"nic", true},
    {"no-acpi", false},
    {"no-hpet", false},
    {"no-reboot", false},
    {"no-shutdown", false},
    {"no-user-config", false},
    {"nodefaults", false},
    {"nographic", false},
    {"parallel", true},
    {"qmp", true, true},
    {"qmp-pretty", true, true},
    {"qtest", true, true},
    {"qtest-log", true},
    {"rtc", true},
    {"S", false},
    {"serial", true},
    {"smp", true},
    {"uuid", true, true},
    {"vga", true},
};

const MachineOption* FindMachineOption(std::string_view name) {
  for (const MachineOption& option : kMachineOptions) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

absl::Status WrongOption(std::string_view text) { return absl::InvalidArgumentError(ToAbsl(text)); }

// By its whole name or an unambiguous beginning of it.
absl::StatusOr<const OptionName*> FindLong(std::string_view name) {
  std::vector<const OptionName*> found;
  for (const OptionName& option : kOptionNames) {
    if (option.name == name) return &option;
    if (option.name.starts_with(name)) found.push_back(&option);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) return WrongOption(StrCat("unrecognized option '--", name, "'"));
  std::string text = StrCat("option '--", name, "' is ambiguous; possibilities:");
  for (const OptionName* option : found) StrAppend(&text, " '--", option->name, "'");
  return WrongOption(text);
}

absl::StatusOr<const OptionName*> FindShort(char name) {
  for (const OptionName& option : kOptionNames) {
    if (option.short_name == name) return &option;
  }
  return WrongOption(StrCat("invalid option -- '", std::string(1, name), "'"));
}

// QEMU's options have one dash: what we have too can be written so, by its whole name. "-mon" is
// QEMU's for "--monitor".
bool IsLongName(std::string_view name) {
  if (name == "mon") return true;
  for (const OptionName& option : kOptionNames) {
    if (option.name == name) return true;
  }
  return false;
}

class CommandLineParser {
 public:
  explicit CommandLineParser(const std::vector<std::string>& words) : words_(words) {}

  absl::StatusOr<CommandLine> Parse() {
    const std::string path = words_.empty() ? "millraced" : words_[0];
    line_.program = path.substr(path.find_last_of('/') + 1);
    for (next_ = 1; next_ < words_.size();) {
      const std::string& word = words_[next_++];
      spelled_ = word.substr(0, word.find('='));
      if (word.starts_with("-") && FindMachineOption(std::string_view(word).substr(1)) != nullptr) {
        MILLRACE_RETURN_IF_ERROR(TakeMachineOption(word));
      } else if (word == "-monitor" && next_ < words_.size() && words_[next_] == "none") {
        ++next_;  // QEMU's word for no human monitor; "--monitor none" names a chardev
      } else if (word.starts_with("-") && IsLongName(std::string_view(word).substr(1))) {
        MILLRACE_RETURN_IF_ERROR(TakeLong(std::string_view(word).substr(1)));
      } else if (word.size() > 2 && word.starts_with("--")) {
        MILLRACE_RETURN_IF_ERROR(TakeLong(std::string_view(word).substr(2)));
      } else if (word.size() > 1 && word[0] == '-' && word != "--") {
        MILLRACE_RETURN_IF_ERROR(TakeShort(word));
      } else {
        return WrongOption(StrCat(word, ": Unexpected argument"));
      }
    }
    return std::move(line_);
  }

 private:
  absl::Status TakeMachineOption(std::string_view word) {
    const MachineOption& option = *FindMachineOption(word.substr(1));
    if (!option.has_argument) return absl::OkStatus();
    if (next_ == words_.size())
      return WrongOption(StrCat("option '", word, "' requires an argument"));
    const std::string& argument = words_[next_++];
    const bool asks = option.has_help && (argument == "help" || argument == "?");
    if (option.has_effect || asks) {
      line_.options.push_back({std::string(option.name), argument, std::string(word)});
    }
    return absl::OkStatus();
  }

  absl::Status TakeLong(std::string_view word) {
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    MILLRACE_ASSIGN_OR_RETURN(const OptionName* const option, FindLong(name));
    if (!option->has_argument) {
      if (equals != word.npos) {
        return WrongOption(StrCat("option '--", option->name, "' doesn't allow an argument"));
      }
      return Apply(*option, "");
    }
    if (equals != word.npos) return Apply(*option, word.substr(equals + 1));
    if (next_ == words_.size()) {
      return WrongOption(StrCat("option '--", option->name, "' requires an argument"));
    }
    return Apply(*option, words_[next_++]);
  }

  // "-hV", "-T pattern", "-Tpattern".
  absl::Status TakeShort(std::string_view word) {
    if (word.size() > 2 && !FindShort(word[1]).ok()) {
      return WrongOption(StrCat("unrecognized option '", word, "'"));
    }
    for (size_t i = 1; i < word.size(); ++i) {
      MILLRACE_ASSIGN_OR_RETURN(const OptionName* const option, FindShort(word[i]));
      spelled_ = StrCat("-", word.substr(i, 1));
      if (!option->has_argument) {
        MILLRACE_RETURN_IF_ERROR(Apply(*option, ""));
        continue;
      }
      if (i + 1 < word.size()) return Apply(*option, word.substr(i + 1));
      if (next_ == words_.size()) {
        return WrongOption(StrCat("option requires an argument -- '", word.substr(i, 1), "'"));
      }
      return Apply(*option, words_[next_++]);
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const OptionName& option, std::string_view argument) {
    if (option.name == "help") {
      line_.wants_help = true;
    } else if (option.name == "version") {
      line_.wants_version = true;
    } else if (option.name == "daemonize") {
      line_.daemonizes = true;
    } else if (option.name == "pidfile") {
      line_.pid_file = std::string(argument);
    } else if (option.name == "open-root") {
      return SetOpenRoot(std::string(argument));
    } else if (option.name == "open-gate") {
      if (argument != "strict" && argument != "qemu") {
        return WrongOption(StrCat("--open-gate ", argument, ": expected 'strict' or 'qemu'"));
      }
      line_.open_gate_like_qemu = argument == "qemu";
    } else if (option.name == "qmp-error-data") {
      if (argument != "on" && argument != "off") {
        return WrongOption(StrCat("--qmp-error-data ", argument, ": expected 'on' or 'off'"));
      }
      line_.tells_error_data = argument == "on";
    } else if (option.name == "io") {
      return SetIo(argument);
    } else {
      line_.options.push_back({std::string(option.name), std::string(argument), spelled_});
    }
    return absl::OkStatus();
  }

  absl::Status SetIo(std::string_view backend) {
    if (backend == "auto") {
      line_.io = IoBackendKind::kAutomatic;
    } else if (backend == "io_uring") {
      line_.io = IoBackendKind::kIoUring;
    } else if (backend == "threads") {
      line_.io = IoBackendKind::kThreads;
    } else {
      return WrongOption(StrCat("--io ", backend, ": expected 'auto', 'io_uring' or 'threads'"));
    }
    return absl::OkStatus();
  }

  // The library compares paths by their words, so links and dots are resolved here.
  absl::Status SetOpenRoot(const std::string& path) {
    char* const resolved = realpath(path.c_str(), nullptr);
    if (resolved == nullptr)
      return WrongOption(StrCat("--open-root ", path, ": there is no such folder"));
    line_.open_root = resolved;
    std::free(resolved);
    return absl::OkStatus();
  }

  const std::vector<std::string>& words_;
  size_t next_ = 1;
  std::string spelled_;  // the option that is read
  CommandLine line_;
};

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& words) {
  return CommandLineParser(words).Parse();
}

std::string VersionText(std::string_view program) {
  return StrCat(program, " version ", MILLRACE_VERSION_STRING, " (Millrace)\n");
}

std::string HelpText(std::string_view program) {
  return StrCat("Usage: ", program, R"( [options]
Millrace's hypervisor example: drives and guest devices over live block jobs, controlled by QMP

  -h, --help             display this help and exit
  -V, --version          output version information and exit

Options are carried out in the order given. KEY=VALUE texts nest by dots and may be JSON.

  --add-fd fd=<fd>,set=<set>[,opaque=<text>]
                         hand over an open file, to be opened as /dev/fdset/<set>

  --blockdev [driver=]<driver>[,node-name=<N>][,read-only=on|off]
             [,discard=ignore|unmap][,detect-zeroes=on|off|unmap]
             [,cache.direct=on|off][,driver specific parameters...]
                         configure a node

  --chardev socket,id=<id>,path=<path>[,server=on|off][,wait=on|off]
            [,abstract=on|off][,tight=on|off]
  --chardev socket,id=<id>,fd=<fd>
  --chardev stdio,id=<id>
                         configure a place where clients connect

  --daemonize            go to the background when startup is complete

  --device <driver>,id=<id>,drive=<name>[,share-rw=on|off][,iothread=<id>]
                         attach a guest device to a drive or node; help lists the models

  --drive [if=<type>][,id=<id>][,file=<file>][,format=<driver>][,node-name=<N>]
          [,read-only=on|off][,werror=<policy>][,rerror=<policy>]
          [,driver specific parameters...]
                         configure a drive; format=help lists the formats

  --export, --nbd-server as qemu-storage-daemon has them

  --io auto|io_uring|threads
                         how files are read and written; auto takes io_uring where the
                         host allows it

  --monitor [chardev=]<id>[,mode=control][,pretty=on|off]
                         configure a QMP monitor

  --object <type>,id=<id>[,<property>=<value>...]
                         create an iothread, a throttle-group, a secret ...

  --open-gate strict|qemu
                         what names in image headers may open: plain files with a
                         stated format only (default), or whatever QEMU would open
  --open-root <dir>      confine names in image headers to a folder

  --pidfile <path>       write process ID to a file after startup

  --qmp-error-data on|off
                         whether refusals carry 'data' beside 'class' and 'desc' (default: on)

Whole names may have one dash, as QEMU's options have:

  -qmp stdio|unix:<path>[,server=on][,wait=off]|chardev:<id>, -qmp-pretty ...
                         configure a place where clients connect, and a QMP monitor there
  -name [guest=]<name>, -uuid <uuid>
                         what query-name and query-uuid tell
  -qtest <place>         connect, as for -qmp; every command of qtest is refused

What QEMU is told of the machine itself has no meaning here and is passed over: -M, -machine,
-accel, -boot, -cpu, -display, -enable-kvm, -m, -net, -nic, -no-acpi, -no-hpet, -no-reboot,
-no-shutdown, -no-user-config, -nodefaults, -nographic, -parallel, -qtest-log, -rtc, -S, -serial,
-smp, -vga, and "-monitor none".
)");
}

}  // namespace millrace
