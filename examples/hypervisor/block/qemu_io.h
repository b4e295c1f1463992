// qemu-io's command language, as tests of block layers use it over HMP:
//
//   qemu-io drive0 "aio_write -P 0x55 64k 4k"
//
// read, write, readv, writev, aio_read, aio_write, flush, aio_flush, discard, truncate; length,
// info, alloc, map; sleep; and the break points of blkdebug. What qemu-io would print goes to
// stdout, complaints about a command itself to stderr.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/permission.h"

namespace millrace {

class Attachment;
class BlockLayer;
struct Drive;

// A command in words; what stands in quotes is one.
std::vector<std::string> SplitWords(std::string_view line);

// "512", "64k", "0x200", "1.5M"; nothing if it is no number, or more than kBytesMax.
std::optional<uint64_t> ParseIoNumber(std::string_view text);

// "64 KiB", "1.500 MiB", as qemu-io writes sizes.
std::string IoSizeText(double bytes);

// Where a command's output goes. On stdout it comes behind all replies and events so far: a monitor
// may be there too.
void PrintLikeQemuIo(BlockLayer& layer, std::string_view text);
void ComplainLikeQemuIo(std::string_view text);

// What a read or write is to do.
struct QemuIoRequest {
  std::string name;  // "read", "aio_write", "discard"
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::optional<uint8_t> pattern;
  std::string pattern_file;  // -s of writes: what is written, again and again
  // The part of a read that is compared with the pattern: -s and -l.
  uint64_t compared_offset = 0;
  std::optional<uint64_t> compared_bytes;
  bool is_quiet = false;
  bool is_condensed = false;   // -C
  bool writes_zeroes = false;  // -z
  bool may_unmap = false;      // -u
  bool no_fallback = false;    // -n
  bool force_unit_access = false;
  bool is_verbose = false;
  bool is_compressed = false;  // -c
  bool is_vm_state = false;    // -b
  bool is_invalid = false;     // -i: only counted, as one that was refused

  bool is_read() const { return name == "read" || name == "readv" || name == "aio_read"; }
  bool is_asynchronous() const { return name.compare(0, 4, "aio_") == 0; }
};

// A mistake, or nothing. Most are told among the output; what is wrong with the number of words or
// with a flag is a complaint on stderr, the latter followed by the command's usage. Some are the
// monitor's answer.
struct QemuIoMistake {
  std::string output;
  std::string complaint = {};
  std::string answer = {};
};
std::optional<QemuIoMistake> ParseIoRequest(const std::vector<std::string>& words,
                                            QemuIoRequest* request);

// A line: qemu-io [-d] TARGET "COMMAND".
struct QemuIoLine {
  bool names_device = false;
  std::string target;
  std::vector<std::string> words;  // of the command, aliases resolved; may be none
};
// InvalidArgument: the message is what the terminal shows.
absl::StatusOr<QemuIoLine> ReadQemuIoLine(std::string_view rest);

// What a command works on: a drive's own back end, or one made for it over a node.
struct QemuIoTarget {
  Attachment* backend = nullptr;
  std::shared_ptr<Attachment> own;  // keeps it, if it was made
  Drive* drive = nullptr;           // null for a node
};

// "bad argument count 1 to flush, expected 0 arguments"; nothing if the number of words is right,
// or there is no such command.
std::optional<std::string> CheckWordCount(const std::vector<std::string>& words);

// "Parsing error: ..." for a word that ParseIoNumber() does not take.
std::string NoNumber(std::string_view word);

// What truncate is to make of an image; `bytes` gets the length.
std::optional<QemuIoMistake> ParseTruncate(const std::vector<std::string>& words, uint64_t* bytes);

// For how long sleep waits; nothing if that is no number, or ten minutes are not enough.
std::optional<uint64_t> ParseSleepMilliseconds(const std::string& word);
// "x is not a valid number".
std::string NoSleep(std::string_view word);

// Lets the back end do what the command needs on top of what it may, as qemu-io does.
absl::Status RequestPermissions(BlockLayer& layer, const Attachment& backend, PermissionSet wanted)
    MILLRACE_OPENS_VIEW;

// What the request needs. `drive`: null for a node.
PermissionSet PermissionsFor(const QemuIoRequest& request, const Drive* drive);

// What is known against the request before any I/O: that it goes beyond the node's end, or asks for
// what no node here can do.
absl::Status CheckIoRequest(BlockLayer& layer, NodeId node, const QemuIoRequest& request)
    MILLRACE_OPENS_VIEW;
// "readv failed: Input/output error".
std::string IoFailureText(const QemuIoRequest& request, const absl::Status& status);

// What a line would do, or what it would answer, or print, that it does not (qemu_io_plan.cc).
PlanResult PlanQemuIo(BlockLayer& layer, std::string_view rest) MILLRACE_OPENS_VIEW;

// Carries the request out and prints what came of it. The back end has the permissions.
void CoRunIoRequest(BlockLayer& layer, const QemuIoTarget& target, const QemuIoRequest& request)
    MILLRACE_MAY_SUSPEND;

// length, info, alloc, map, truncate, sleep; nothing if it is none of these, else what is answered
// besides what is printed.
std::optional<std::string> CoRunInfoCommand(BlockLayer& layer, const QemuIoTarget& target,
                                            const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND;

// reopen; answers with what it was refused for.
std::string CoRunReopen(BlockLayer& layer, const QemuIoTarget& target,
                        const std::vector<std::string>& words) MILLRACE_MAY_SUSPEND;
// The same, planned. `drive`: null for a node.
PlanResult PlanReopen(BlockLayer& layer, const Drive* drive, NodeId node,
                      const std::vector<std::string>& words) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_
