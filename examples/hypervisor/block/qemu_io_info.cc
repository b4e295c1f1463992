// What qemu-io says about an image, and what changes its size.
#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/human_tools.h"
#include "examples/hypervisor/block/image_info_text.h"
#include "examples/hypervisor/block/image_queries.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

std::string SizeText(uint64_t bytes) { return IoSizeText(static_cast<double>(bytes)); }

// The uppermost image below the back end: what alloc and map ask about.
NodeId ImageOf(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? SkipFilters(*node).id() : id;
}

// Where a machine's state would begin: behind the last L2 table that the disk needs.
uint64_t VmStateOffset(const NodeView& node) {
  return node.driver_name() == "qcow2" ? AlignUp(node.bytes(), BytesOfL2Table(node)) : 0;
}

// Whether what the node stands on has anything to tell: files and qcow2 images have.
bool HasInfo(const NodeView& node) {
  if (node.is_filter() || node.driver_name() == "raw") {
    const std::optional<NodeView> below =
        node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
    return below && HasInfo(*below);
  }
  return node.driver_name() == "qcow2" || node.driver_name() == "file";
}

// The facts of the format are answered, the rest is printed.
std::string TellInfo(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  if (!node.ok()) return {};
  ImageQueries images(view, layer.bitmaps());
  const std::string facts = FormatFactsText(images.DescribeImage(*node));
  const uint64_t cluster = node->driver_name() == "qcow2" ? node->cluster_bytes() : 0;
  PrintLikeQemuIo(layer, StrCat("format name: ", node->driver_name(), "\n"));
  if (HasInfo(*node)) {
    PrintLikeQemuIo(layer, StrCat("cluster size: ", SizeText(cluster),
                                  "\nvm state offset: ", SizeText(VmStateOffset(*node)), "\n"));
  }
  if (!facts.empty()) PrintLikeQemuIo(layer, "Format specific information:\n");
  return TerminalLines(facts);
}

// Walks [offset, offset + bytes), run by run.
template <typename Visit>
absl::Status CoWalk(BlockLayer& layer, Attachment& backend, ByteRange range, const Visit& visit)
    MILLRACE_MAY_SUSPEND {
  const NodeId image = ImageOf(layer, backend.node());
  while (!range.empty()) {
    // From the top: filters may have something to say.
    MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run,
                              backend.CoAllocation(range, NodeId(), image));
    visit(ByteRange(range.offset, run.bytes), run.is_allocated);
    range = ByteRange(range.offset + run.bytes, range.bytes - run.bytes);
  }
  return absl::OkStatus();
}

// The monitor's answer.
std::string CoMap(BlockLayer& layer, Attachment& backend) MILLRACE_MAY_SUSPEND {
  if (backend.bytes() == 0) return {};
  struct Run {
    ByteRange range;
    bool is_allocated;
  };
  std::vector<Run> runs;
  const absl::Status status = CoWalk(
      layer, backend, ByteRange(0, backend.bytes()), [&](ByteRange range, bool is_allocated) {
        if (!runs.empty() && runs.back().is_allocated == is_allocated) {
          runs.back().range =
              ByteRange(runs.back().range.offset, runs.back().range.bytes + range.bytes);
        } else {
          runs.push_back({range, is_allocated});
        }
      });
  if (!status.ok()) {
    return StrCat("Failed to get allocation status: ", ErrnoText(ErrnoOf(status)), "\r\n");
  }
  for (const Run& run : runs) {
    PrintLikeQemuIo(layer, absl::StrFormat("%s (0x%x) bytes %s at offset %s (0x%x)\n",
                                           SizeText(run.range.bytes), run.range.bytes,
                                           run.is_allocated ? "    allocated" : "not allocated",
                                           SizeText(run.range.offset), run.range.offset));
  }
  return {};
}

void CoAlloc(BlockLayer& layer, Attachment& backend, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  uint64_t numbers[] = {0, 512};
  for (size_t i = 1; i < words.size(); ++i) {
    const std::optional<uint64_t> number = ParseIoNumber(words[i]);
    if (!number) return PrintLikeQemuIo(layer, NoNumber(words[i]));
    numbers[i - 1] = *number;
  }
  const uint64_t from = std::min(numbers[0], backend.bytes());
  const uint64_t bytes = std::min(numbers[1], backend.bytes() - from);
  uint64_t allocated = 0;
  const absl::Status status =
      CoWalk(layer, backend, ByteRange(from, bytes), [&](ByteRange range, bool is_allocated) {
        if (is_allocated) allocated += range.bytes;
      });
  if (!status.ok()) {
    return PrintLikeQemuIo(layer,
                           StrCat("is_allocated failed: ", ErrnoText(ErrnoOf(status)), "\n"));
  }
  PrintLikeQemuIo(layer, StrCat(allocated, "/", bytes, " bytes allocated at offset ",
                                SizeText(numbers[0]), "\n"));
}

constexpr std::string_view kTruncateUsage =
    "truncate [-m prealloc_mode] off -- truncates the current file at the given offset\n";

// Answers with what it was refused for.
std::string CoTruncate(BlockLayer& layer, Attachment& backend,
                       const std::vector<std::string>& words) MILLRACE_MAY_SUSPEND {
  const absl::Status permitted = RequestPermissions(layer, backend, kWrite | kResize);
  if (!permitted.ok()) return StrCat(RenderRefusal(permitted).desc, "\r\n");
  uint64_t bytes = 0;
  if (const std::optional<QemuIoMistake> mistake = ParseTruncate(words, &bytes)) {
    ComplainLikeQemuIo(mistake->complaint);
    PrintLikeQemuIo(layer, mistake->output);
    return mistake->answer;
  }
  const absl::Status status = backend.CoResize(bytes);
  return status.ok() ? std::string() : StrCat(RenderError(status, &RenderRefusal).desc, "\r\n");
}

void CoSleepForWord(BlockLayer& layer, const std::string& word) MILLRACE_MAY_SUSPEND {
  const std::optional<uint64_t> milliseconds = ParseSleepMilliseconds(word);
  if (!milliseconds) return PrintLikeQemuIo(layer, NoSleep(word));
  layer.CoSleep(static_cast<Nanoseconds>(*milliseconds) * kMillisecond);
}

}  // namespace

std::optional<uint64_t> ParseSleepMilliseconds(const std::string& word) {
  constexpr uint64_t kMostMilliseconds = 600000;
  const std::optional<uint64_t> milliseconds = ParseIoNumber(word);
  return milliseconds && *milliseconds <= kMostMilliseconds ? milliseconds : std::nullopt;
}

std::string NoSleep(std::string_view word) { return StrCat(word, " is not a valid number\n"); }

std::optional<QemuIoMistake> ParseTruncate(const std::vector<std::string>& words, uint64_t* bytes) {
  const auto answer = [](std::string text) { return QemuIoMistake{{}, {}, std::move(text)}; };
  size_t at = 1;
  std::string mode = "off";
  while (at < words.size() && words[at].starts_with('-')) {
    if (words[at] != "-m" || at + 1 >= words.size()) {
      return QemuIoMistake{std::string(kTruncateUsage),
                           StrCat("truncate: invalid option -- '", words[at].substr(1, 1), "'\n")};
    }
    mode = words[at + 1];
    at += 2;
  }
  if (mode != "off" && mode != "metadata" && mode != "falloc" && mode != "full") {
    return answer(StrCat("Invalid preallocation mode '", mode, "'\r\n"));
  }
  if (at == words.size()) return QemuIoMistake{std::string(kTruncateUsage)};
  const std::optional<uint64_t> number = ParseIoNumber(words[at]);
  if (!number) return QemuIoMistake{NoNumber(words[at])};
  if (mode != "off") {
    return answer(StrCat("millraced cannot preallocate what it adds to an image; leave '-m ", mode,
                         "' out\r\n"));
  }
  const absl::Status status = CheckSizeMax(*number);
  if (!status.ok()) return answer(StrCat(RenderError(status, &RenderRefusal).desc, "\r\n"));
  *bytes = *number;
  return std::nullopt;
}

std::optional<std::string> CoRunInfoCommand(BlockLayer& layer, const QemuIoTarget& target,
                                            const std::vector<std::string>& words) {
  Attachment& backend = *target.backend;
  const std::string& name = words[0];
  if (name == "truncate" || name == "t") return CoTruncate(layer, backend, words);
  if (name == "info" || name == "i") return TellInfo(layer, backend.node());
  if (name == "length" || name == "l") {
    PrintLikeQemuIo(layer, StrCat(SizeText(backend.bytes()), "\n"));
  } else if (name == "map") {
    return CoMap(layer, backend);
  } else if (name == "alloc") {
    CoAlloc(layer, backend, words);
  } else if (name == "sleep") {
    CoSleepForWord(layer, words[1]);
  } else {
    return std::nullopt;
  }
  return std::string();
}

}  // namespace millrace
