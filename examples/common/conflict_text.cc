#include "examples/common/conflict_text.h"

#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

using Reason = ConflictReason;

// One row: the text, in which %o stands for the object, %d for the detail, %1 and %2 for the
// detail's first word and the rest, %h for the first holder and %t for its type without " job".
struct Row {
  Reason reason;
  std::string_view text;
};

constexpr Row kTexts[] = {
    // Jobs.
    {Reason::kDuplicateJobId, "Job ID '%o' already in use"},
    {Reason::kMalformedJobId, "Invalid job ID '%o'"},
    {Reason::kInternalJobId, "Cannot specify job ID for internal job"},
    {Reason::kVerbNotAccepted, "Job '%o' in state '%2' cannot accept command verb '%1'"},
    {Reason::kAlreadyPaused, "Job is already paused"},
    {Reason::kNotPaused, "Can't resume a job that was not paused"},
    {Reason::kCannotComplete, "The active block job '%o' cannot be completed"},
    {Reason::kNegativeSpeed, "Parameter 'speed' expects a non-negative value"},
    {Reason::kPausedNeedsForce, "The block job for device '%o' is currently paused"},
    {Reason::kChangeUnsupported, "Job type does not support change"},
    // Nodes.
    {Reason::kFrozenLink, "Cannot change frozen '%1' link from '%2' to '%o'"},
    {Reason::kUnleasableFilter, "Cannot freeze '%d' link to '%o'"},
    {Reason::kReadOnly, "Block node is read-only"},
    {Reason::kDuplicateNodeName, "Duplicate nodes with node-name='%o'"},
    {Reason::kDuplicateDeviceName, "Duplicate nodes with node-name='%o'"},
    {Reason::kMalformedNodeName, "Invalid node-name: '%o'"},
    {Reason::kNodeNameTooLong, "Node name too long"},
    {Reason::kNodeNameIsDevice, "node-name=%o is conflicting with a device id"},
    {Reason::kNodeInUse, "Block device %o is in use"},
    {Reason::kNotInChain, "'%o' is not in the backing chain of '%d'"},
    {Reason::kNotBacking, "Node '%o' is not a backing image of '%d'"},
    {Reason::kNoBacking, "cannot commit an image into itself"},
    {Reason::kCycle, "Making '%o' a %2 child of '%1' would create a cycle"},
    {Reason::kOtherFormat, "Image is not in %o format"},
    {Reason::kViewWouldChange,
     "Cannot replace '%o' by a node mirrored from '%d', because it cannot be guaranteed that "
     "doing so would not lead to an abrupt change of visible data"},
    {Reason::kNotRoot, "Need a root block node"},
    {Reason::kUnalignedSize,
     "Cannot get 'write' permission without 'resize': Image size is not a multiple of request "
     "alignment"},
};

std::string Fill(std::string_view text, const Conflict& conflict) {
  const std::string_view detail = conflict.detail;
  const size_t space = detail.find(' ');
  std::string filled;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 1 == text.size()) {
      filled += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'o':
        filled += conflict.object;
        break;
      case 'd':
        filled += detail;
        break;
      case '1':
        filled += detail.substr(0, space);
        break;
      case '2':
        if (space != std::string_view::npos) filled += detail.substr(space + 1);
        break;
      case 't':
        if (!conflict.holders.empty()) {
          filled += FromAbsl(absl::StripSuffix(ToAbsl(conflict.holders.front().type), " job"));
        }
        break;
      default:
        break;
    }
  }
  return filled;
}

std::string UserText(const ConflictHolder& holder, const std::string& node) {
  // In QEMU a job reads and writes its base or target by a back end without a name.
  if (holder.type.ends_with(" job") && (holder.as == "target" || holder.as == "base")) {
    return StrCat("an unnamed block device (uses node '", node, "' as 'root' child)");
  }
  const std::string user = holder.id.empty() ? StrCat("an unnamed ", holder.type)
                                             : StrCat(holder.type, " '", holder.id, "'");
  return StrCat(user, " (uses node '", node, "' as '", holder.as, "' child)");
}

std::string PermissionText(const Conflict& conflict) {
  if (conflict.holders.size() < 2) return {};
  return StrCat("Permission conflict on node '", conflict.object, "': permissions '",
                conflict.detail, "' are both required by ",
                UserText(conflict.holders[0], conflict.object), " and unshared by ",
                UserText(conflict.holders[1], conflict.object), ".");
}

std::string ExclusionText(const Conflict& conflict) {
  if (conflict.detail == "backing-file base") {
    return "backing file specified, but streaming the entire chain";
  }
  if (conflict.detail == "backing-file active-layer") {
    return "'backing-file' specified, but 'top' is the active layer";
  }
  if (conflict.detail == "backing-file writer") {
    return "'backing-file' specified, but 'top' has a writer on it";
  }
  return Fill("'%1' and '%2' cannot be specified at the same time", conflict);
}

// "raw-window OFFSET SIZE BYTES-OF-THE-FILE"
std::string RawWindowText(const std::string& detail) {
  const std::vector<std::string> words = absl::StrSplit(detail, ' ');
  uint64_t offset = 0;
  uint64_t bytes = 0;
  if (words.size() != 4 || !absl::SimpleAtoi(words[1], &offset) ||
      !absl::SimpleAtoi(words[3], &bytes)) {
    return {};
  }
  if (offset > bytes) {
    return StrCat("Offset (", words[1], ") cannot be greater than size of the containing file (",
                  words[3], ")");
  }
  return StrCat("The sum of offset (", words[1], ") and size (", words[2],
                ") has to be smaller or equal to the  actual size of the containing file (",
                words[3], ")");
}

std::string OptionText(const Conflict& conflict) {
  if (conflict.detail == "granularity 512B-64MB") {
    return "Parameter 'granularity' expects a value in range [512B, 64MB]";
  }
  if (conflict.detail == "granularity power-of-two") {
    return "Parameter 'granularity' expects a power of 2";
  }
  if (conflict.detail == "throttle-group must exist") {
    return StrCat("Throttle group '", conflict.object, "' does not exist");
  }
  if (conflict.detail.starts_with("raw-window ")) return RawWindowText(conflict.detail);
  if (conflict.detail.starts_with("fault-limit ")) {
    return StrCat("Cannot meet constraints with ",
                  conflict.detail.substr(std::string_view("fault-limit ").size()));
  }
  return Fill("Invalid parameter '%1'", conflict);
}

}  // namespace

std::string ConflictText(const Conflict& conflict) {
  switch (conflict.reason) {
    case Reason::kNodeBusy:
      // The node that a mirror is about to replace.
      if (!conflict.holders.empty() && conflict.holders.front().as == "replaced") {
        return Fill("Node '%o' is busy: block device is in use by block-job-complete", conflict);
      }
      return Fill("Node '%o' is busy: block device is in use by block job: %t", conflict);
    case Reason::kPermission:
      return PermissionText(conflict);
    case Reason::kMutuallyExclusive:
      return ExclusionText(conflict);
    case Reason::kInvalidOption:
      return OptionText(conflict);
    case Reason::kUnknownFormat:
      return StrCat(conflict.detail == "protocol" ? "Unknown protocol '" : "Unknown driver '",
                    conflict.object, "'");
    case Reason::kImageLocked:
      return conflict.detail.empty() ? std::string()
                                     : StrCat("Failed to get ", conflict.detail, " lock");
    case Reason::kUnknownNode:
      // Where only nodes were looked for, QEMU names no device.
      return StrCat("Cannot find device='", conflict.detail == "node-name" ? "" : conflict.object,
                    "' nor node-name='", conflict.object, "'");
    case Reason::kSameNode:
      if (conflict.detail == "mirror") return "Can't mirror node into itself";
      if (conflict.detail.starts_with("stream ")) {
        return Fill("Node '%o' is not a backing image of '%2'", conflict);
      }
      if (conflict.detail == "through-filters") {
        return "Invalid files for merge: top and base are the same";
      }
      return "cannot commit an image into itself";
    case Reason::kIsFilter:
      if (conflict.detail == "mirror-target") {
        return "Cannot mirror to a filter on top of a node in the source's backing chain";
      }
      return Fill("Node '%o' is a filter, use a non-filter node as 'bottom'", conflict);
    case Reason::kSizeMismatch:
      return conflict.detail == "replaces"
                 ? "cannot replace image with a mirror image of different size"
                 : "Source and target image have different sizes";
    case Reason::kMissingJobId:
      // In QEMU the default is the device's name, the empty one too.
      return conflict.detail == "device" ? "Invalid job ID ''" : "An explicit job ID is required";
    case Reason::kUnsupportedByDriver:
      if (conflict.detail == "driver or file") return "Must specify either driver or file";
      for (const char* child : {"file", "image", "raw"}) {
        if (conflict.detail == child) {
          return StrCat("A block device must be specified for \"", child, "\"");
        }
      }
      return "";
    default:
      break;
  }
  for (const Row& row : kTexts) {
    if (row.reason == conflict.reason) return Fill(row.text, conflict);
  }
  return {};
}

}  // namespace millrace
