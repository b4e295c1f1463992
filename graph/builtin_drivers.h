// Every driver of the library, registered under its name with its options as text. The one place
// that knows all of them; the graph's core includes none.
//
//   memory          size, filename
//   memory-overlay  size, cluster-size, backing, backing-format, filename
//   null            size, latency-ns, read-zeroes; also as null-co and null-aio
//   file            filename, direct, locking (auto, on, off), open-root, descriptor (closed by it)
//   raw             offset, size, guessed (on: nobody stated the format; RawOptions::was_guessed)
//   qcow2           cache-size, pass-discards
//   copy-on-read    bottom
//   throttle        throttle-group
//   blkdebug        config (the text of blkdebug's rules, not a file's name), and rules one by one:
//                   inject-error.0.event, .errno ..., set-state.0.event ...; take-child-perms.0,
//                   unshare-child-perms.0; align, max-transfer, opt-write-zero, max-write-zero,
//                   opt-discard, max-discard
//   blkverify       none; its children are "raw" and "test"
#ifndef MILLRACE_GRAPH_BUILTIN_DRIVERS_H_
#define MILLRACE_GRAPH_BUILTIN_DRIVERS_H_

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/drivers/qcow2/corruption.h"
#include "millrace/graph/filters/break_points.h"
#include "millrace/graph/filters/quorum.h"
#include "millrace/graph/filters/throttle_group.h"
#include "millrace/graph/filters/verify.h"

namespace millrace {

struct BuiltinDriverServices {
  // The throttle group of that name; null if there is none. Absent: there are no groups.
  std::function<std::shared_ptr<ThrottleGroup>(std::string_view name)> find_throttle_group{};
  // Hears of requests that blkdebug's break points stop and let go. Absent: nobody does.
  BreakPoints::Listener on_break{};
  // Hears of bad children of quorums and of failed votes. Absent: nobody does.
  std::function<void(const QuorumReport&)> on_quorum_report{};
  // Hears of children of blkverify that differ (VerifyOptions::on_mismatch). Absent: nobody does.
  std::function<void(const VerifyMismatch&)> on_verify_mismatch{};
  // Hears of broken tables of qcow2 images (Qcow2OpenOptions::on_corruption). Absent: nobody does.
  std::function<void(const Qcow2Corruption&)> on_corruption{};
};

// AlreadyExists if the embedder has taken one of the names.
absl::Status RegisterBuiltinDrivers(DriverRegistry& registry, BuiltinDriverServices services = {});

}  // namespace millrace

#endif  // MILLRACE_GRAPH_BUILTIN_DRIVERS_H_
