#include "millrace/graph/builtin_drivers.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/file.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/drivers/null.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/filters/fault_injection_config.h"
#include "millrace/graph/filters/throttle.h"

namespace millrace {
namespace {

using Made = absl::StatusOr<std::unique_ptr<Driver>>;

Made MakeMemory(const DriverOptions& options) {
  DriverOptionReader reader("memory", options);
  MemoryOptions memory;
  MILLRACE_RETURN_IF_ERROR(reader.Read("size", &memory.bytes));
  MILLRACE_RETURN_IF_ERROR(reader.Read("filename", &memory.filename));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return MakeMemoryDriver(std::move(memory));
}

Made MakeMemoryOverlay(const DriverOptions& options) {
  DriverOptionReader reader("memory-overlay", options);
  MemoryOverlayOptions overlay;
  MILLRACE_RETURN_IF_ERROR(reader.Read("size", &overlay.bytes));
  MILLRACE_RETURN_IF_ERROR(reader.Read("cluster-size", &overlay.cluster_bytes));
  MILLRACE_RETURN_IF_ERROR(reader.Read("backing", &overlay.backing.filename));
  MILLRACE_RETURN_IF_ERROR(reader.Read("backing-format", &overlay.backing.format));
  MILLRACE_RETURN_IF_ERROR(reader.Read("filename", &overlay.filename));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!IsPowerOfTwo(overlay.cluster_bytes)) return reader.Bad("cluster-size", "a power of two");
  if (overlay.bytes / overlay.cluster_bytes >= kMemoryOverlayClustersMax) {
    return reader.Bad("size", "a size of fewer than 2^28 clusters");
  }
  return MakeMemoryOverlayDriver(std::move(overlay));
}

Made MakeNull(std::string_view name, const DriverOptions& options) {
  DriverOptionReader reader(name, options);
  NullOptions null;
  null.driver_name = name;
  uint64_t latency = 0;
  MILLRACE_RETURN_IF_ERROR(reader.Read("size", &null.bytes));
  MILLRACE_RETURN_IF_ERROR(reader.Read("latency-ns", &latency));
  MILLRACE_RETURN_IF_ERROR(reader.Read("read-zeroes", &null.read_zeroes));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  constexpr Nanoseconds kLatencyMax = 3600 * kSecond;
  if (latency > static_cast<uint64_t>(kLatencyMax)) {
    return reader.Bad("latency-ns", "an hour at most");
  }
  null.latency = static_cast<Nanoseconds>(latency);
  return MakeNullDriver(null);
}

Made MakeFile(const DriverOptions& options) {
  DriverOptionReader reader("file", options);
  FileOptions file;
  std::string locking = "auto";
  MILLRACE_RETURN_IF_ERROR(reader.Require("filename", &file.path));
  MILLRACE_RETURN_IF_ERROR(reader.Read("direct", &file.direct));
  MILLRACE_RETURN_IF_ERROR(reader.Read("locking", &locking));
  MILLRACE_RETURN_IF_ERROR(reader.Read("open-root", &file.open_root));
  std::optional<uint64_t> descriptor;
  MILLRACE_RETURN_IF_ERROR(reader.Read("descriptor", &descriptor));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (descriptor && !std::in_range<int>(*descriptor)) {
    return reader.Bad("descriptor", "the number of an open file");
  }
  if (descriptor) file.descriptor = static_cast<int>(*descriptor);
  if (locking == "on") {
    file.locking = FileLocking::kOn;
  } else if (locking == "off") {
    file.locking = FileLocking::kOff;
  } else if (locking != "auto") {
    return reader.Bad("locking", "auto, on or off");
  }
  return MakeFileDriver(std::move(file));
}

Made MakeQcow2(const BuiltinDriverServices& services, const DriverOptions& options) {
  DriverOptionReader reader("qcow2", options);
  Qcow2OpenOptions qcow2;
  MILLRACE_RETURN_IF_ERROR(reader.Read("cache-size", &qcow2.cache_bytes_max));
  MILLRACE_RETURN_IF_ERROR(reader.Read("pass-discards", &qcow2.pass_discards));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  qcow2.on_corruption = services.on_corruption;
  return MakeQcow2Driver(qcow2);
}

Made MakeRaw(const DriverOptions& options) {
  DriverOptionReader reader("raw", options);
  RawOptions raw;
  MILLRACE_RETURN_IF_ERROR(reader.Read("offset", &raw.offset));
  MILLRACE_RETURN_IF_ERROR(reader.Read("size", &raw.bytes));
  MILLRACE_RETURN_IF_ERROR(reader.Read("guessed", &raw.was_guessed));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return MakeRawDriver(raw);
}

Made MakeCopyOnRead(const DriverOptions& options) {
  DriverOptionReader reader("copy-on-read", options);
  CopyOnReadOptions copy_on_read;
  MILLRACE_RETURN_IF_ERROR(reader.Read("bottom", &copy_on_read.bottom));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return MakeCopyOnReadDriver(std::move(copy_on_read));
}

Made MakeThrottle(const BuiltinDriverServices& services, const DriverOptions& options) {
  DriverOptionReader reader("throttle", options);
  std::string name;
  MILLRACE_RETURN_IF_ERROR(reader.Require("throttle-group", &name));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  std::shared_ptr<ThrottleGroup> group;
  if (services.find_throttle_group) group = services.find_throttle_group(name);
  if (group == nullptr) {
    Conflict conflict;
    conflict.reason = ConflictReason::kInvalidOption;
    conflict.object = name;
    conflict.detail = "throttle-group must exist";
    conflict.next_step = "create the group first";
    return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                          StrCat("there is no throttle group '", name, "'; ", conflict.next_step));
  }
  return MakeThrottleDriver(std::move(group));
}

Made MakeQuorum(const BuiltinDriverServices& services, const DriverOptions& options) {
  DriverOptionReader reader("quorum", options);
  QuorumOptions quorum;
  std::optional<uint64_t> threshold;
  std::string pattern = "quorum";
  MILLRACE_RETURN_IF_ERROR(reader.Read("vote-threshold", &threshold));
  MILLRACE_RETURN_IF_ERROR(reader.Read("read-pattern", &pattern));
  MILLRACE_RETURN_IF_ERROR(reader.Read("rewrite-corrupted", &quorum.rewrite_corrupted));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (pattern == "fifo") {
    quorum.read_pattern = QuorumReadPattern::kFifo;
    quorum.rewrite_corrupted = false;  // nobody votes, so nobody is found corrupt
  } else if (pattern != "quorum") {
    return reader.Bad("read-pattern", "quorum or fifo");
  }
  if (threshold.value_or(0) < 1) return reader.Bad("vote-threshold", "a number of at least 1");
  quorum.vote_threshold = *threshold;
  quorum.on_report = services.on_quorum_report;
  return MakeQuorumDriver(std::move(quorum));
}

// Options of a list, as "take-child-perms.0"; those taken are removed from `options`.
absl::Status TakePermissions(DriverOptions& options, const std::string& list,
                             PermissionSet* permissions) {
  constexpr std::string_view kNames[] = {"consistent-read", "write", "write-unchanged", "resize"};
  for (auto option = options.begin(); option != options.end();) {
    if (option->first.compare(0, list.size() + 1, list + ".") != 0) {
      ++option;
      continue;
    }
    const auto* name = std::find(std::begin(kNames), std::end(kNames), option->second);
    if (name == std::end(kNames)) {
      return DriverOptionReader("blkdebug", options).Bad(option->first, "a permission");
    }
    *permissions =
        *permissions |
        PermissionSet(static_cast<uint8_t>(1u << static_cast<unsigned>(name - std::begin(kNames))));
    option = options.erase(option);
  }
  return absl::OkStatus();
}

Made MakeFaultInjection(const BuiltinDriverServices& services, const DriverOptions& options) {
  DriverOptions plain = options;
  std::string config;
  MILLRACE_RETURN_IF_ERROR(TakeFaultInjectionRules(plain, &config));
  FaultInjectionOptions permissions;
  MILLRACE_RETURN_IF_ERROR(
      TakePermissions(plain, "take-child-perms", &permissions.take_child_permissions));
  MILLRACE_RETURN_IF_ERROR(
      TakePermissions(plain, "unshare-child-perms", &permissions.unshare_child_permissions));
  DriverOptionReader reader("blkdebug", plain);
  std::string file;
  FaultLimits limits;
  MILLRACE_RETURN_IF_ERROR(reader.Read("config", &file));
  MILLRACE_RETURN_IF_ERROR(reader.Read("align", &limits.align));
  MILLRACE_RETURN_IF_ERROR(reader.Read("max-transfer", &limits.max_transfer));
  MILLRACE_RETURN_IF_ERROR(reader.Read("opt-write-zero", &limits.opt_write_zero));
  MILLRACE_RETURN_IF_ERROR(reader.Read("max-write-zero", &limits.max_write_zero));
  MILLRACE_RETURN_IF_ERROR(reader.Read("opt-discard", &limits.opt_discard));
  MILLRACE_RETURN_IF_ERROR(reader.Read("max-discard", &limits.max_discard));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(FaultInjectionOptions faults,
                            ParseFaultInjectionConfig(StrCat(file, "\n", config)));
  faults.limits = limits;
  faults.take_child_permissions = permissions.take_child_permissions;
  faults.unshare_child_permissions = permissions.unshare_child_permissions;
  faults.break_points = std::make_shared<BreakPoints>();
  faults.break_points->SetListener(services.on_break);
  return MakeFaultInjectionDriver(std::move(faults));
}

Made MakeVerify(const BuiltinDriverServices& services, const DriverOptions& options) {
  MILLRACE_RETURN_IF_ERROR(DriverOptionReader("blkverify", options).Finish());
  return MakeVerifyDriver({.on_mismatch = services.on_verify_mismatch});
}

}  // namespace

absl::Status RegisterBuiltinDrivers(DriverRegistry& registry, BuiltinDriverServices services) {
  MILLRACE_RETURN_IF_ERROR(registry.Register("memory", &MakeMemory, NodeKind::kProtocol));
  MILLRACE_RETURN_IF_ERROR(
      registry.Register("memory-overlay", &MakeMemoryOverlay, NodeKind::kFormat));
  for (const char* name : {"null", "null-co", "null-aio"}) {
    MILLRACE_RETURN_IF_ERROR(registry.Register(
        name, [name](const DriverOptions& options) { return MakeNull(name, options); },
        NodeKind::kProtocol));
  }
  MILLRACE_RETURN_IF_ERROR(registry.Register("file", &MakeFile, NodeKind::kProtocol));
  MILLRACE_RETURN_IF_ERROR(registry.Register("raw", &MakeRaw, NodeKind::kFormat));
  MILLRACE_RETURN_IF_ERROR(registry.Register(
      "qcow2", [services](const DriverOptions& options) { return MakeQcow2(services, options); },
      NodeKind::kFormat));
  MILLRACE_RETURN_IF_ERROR(registry.Register("copy-on-read", &MakeCopyOnRead, NodeKind::kFilter));
  MILLRACE_RETURN_IF_ERROR(registry.Register(
      "blkdebug",
      [services](const DriverOptions& options) { return MakeFaultInjection(services, options); },
      NodeKind::kFilter));
  MILLRACE_RETURN_IF_ERROR(registry.Register(
      "blkverify",
      [services](const DriverOptions& options) { return MakeVerify(services, options); },
      NodeKind::kFilter));
  // Stands on nodes and not for a file name, as a format does.
  MILLRACE_RETURN_IF_ERROR(registry.Register(
      "quorum", [services](const DriverOptions& options) { return MakeQuorum(services, options); },
      NodeKind::kFormat));
  return registry.Register(
      "throttle",
      [services = std::move(services)](const DriverOptions& options) {
        return MakeThrottle(services, options);
      },
      NodeKind::kFilter);
}

}  // namespace millrace
