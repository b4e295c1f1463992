#include "examples/hypervisor/block/qcow2_options.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "absl/strings/numbers.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr uint64_t kClusterBytesMax = 2 << 20;

std::optional<uint64_t> NumberTold(const NodeTree& tree, std::string_view name) {
  for (const ToldOption& option : tree.told) {
    if (option.name == name) return ParseIoNumber(option.text);
  }
  return std::nullopt;
}

std::optional<int64_t> SignedTold(const NodeTree& tree, std::string_view name) {
  int64_t number = 0;
  for (const ToldOption& option : tree.told) {
    if (option.name == name && absl::SimpleAtoi(option.text, &number)) return number;
  }
  return std::nullopt;
}

std::optional<bool> FlagTold(const NodeTree& tree, std::string_view name) {
  for (const ToldOption& option : tree.told) {
    if (option.name == name) return option.text == "on";
  }
  return std::nullopt;
}

}  // namespace

absl::Status SetQcow2Options(NodeTree& tree) {
  const std::optional<uint64_t> total = NumberTold(tree, "cache-size");
  const std::optional<uint64_t> l2 = NumberTold(tree, "l2-cache-size");
  const std::optional<uint64_t> refcounts = NumberTold(tree, "refcount-cache-size");
  if (total && l2 && refcounts) {
    return GenericError(
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  }
  if (total && l2 && *l2 > *total) return GenericError("l2-cache-size may not exceed cache-size");
  if (total && refcounts && *refcounts > *total) {
    return GenericError("refcount-cache-size may not exceed cache-size");
  }
  if (const auto entry = NumberTold(tree, "l2-cache-entry-size");
      entry && (*entry < 512 || (*entry & (*entry - 1)) != 0)) {
    return GenericError(
        "L2 cache entry size must be a power of two between 512 and the cluster size (65536)");
  }
  // More entries than an int can count.
  if (refcounts && *refcounts / kClusterBytesMax > std::numeric_limits<int32_t>::max()) {
    return GenericError("Refcount cache size too big");
  }
  if (const auto interval = SignedTold(tree, "cache-clean-interval");
      interval && (*interval < 0 || *interval > std::numeric_limits<uint32_t>::max())) {
    return GenericError("Cache clean interval too big");
  }
  if (total || l2 || refcounts) {
    // Both kinds of table share one cache here.
    const uint64_t bytes = total ? *total : l2.value_or(0) + refcounts.value_or(0);
    tree.options["cache-size"] = StrCat(bytes);
  }
  if (const auto passes = FlagTold(tree, "pass-discard-request")) {
    tree.options["pass-discards"] = *passes ? "on" : "off";
  }
  return absl::OkStatus();
}

}  // namespace millrace
