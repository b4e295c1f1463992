// What QEMU says for each conflict: clients match on these texts, so each stands here as it is
// quoted in QEMU's documentation of the command that says it.
#include "examples/common/conflict_text.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "millrace/engine/base/conflict.h"

namespace millrace::conflict_text_test {
namespace {

using Reason = ConflictReason;
using ::testing::IsEmpty;

struct Case {
  Conflict conflict;
  std::string text;
};

Conflict Of(Reason reason, std::string object = "n", std::string detail = "",
            std::vector<ConflictHolder> holders = {}) {
  return {.reason = reason,
          .object = std::move(object),
          .holders = std::move(holders),
          .detail = std::move(detail)};
}

ConflictHolder Job(const std::string& type, std::string as = "") {
  return {.id = "j", .type = type + " job", .since = 1, .as = std::move(as)};
}

std::vector<Case> OfJobs() {
  return {
      {Of(Reason::kDuplicateJobId, "j"), "Job ID 'j' already in use"},
      {Of(Reason::kMalformedJobId, "1"), "Invalid job ID '1'"},
      {Of(Reason::kMissingJobId, "n", "device"), "Invalid job ID ''"},
      {Of(Reason::kMissingJobId), "An explicit job ID is required"},
      {Of(Reason::kInternalJobId, "j"), "Cannot specify job ID for internal job"},
      {Of(Reason::kVerbNotAccepted, "j", "complete running"),
       "Job 'j' in state 'running' cannot accept command verb 'complete'"},
      {Of(Reason::kAlreadyPaused, "j"), "Job is already paused"},
      {Of(Reason::kNotPaused, "j"), "Can't resume a job that was not paused"},
      {Of(Reason::kCannotComplete, "j"), "The active block job 'j' cannot be completed"},
      {Of(Reason::kNegativeSpeed, "j", "-1"), "Parameter 'speed' expects a non-negative value"},
      {Of(Reason::kPausedNeedsForce, "j"), "The block job for device 'j' is currently paused"},
      {Of(Reason::kChangeUnsupported, "j"), "Job type does not support change"},
  };
}

std::vector<Case> OfHolders() {
  const std::string both =
      "Permission conflict on node 'n': permissions 'write' are both required by ";
  return {
      {Of(Reason::kNodeBusy, "n", "stream", {Job("stream"), Job("commit")}),
       "Node 'n' is busy: block device is in use by block job: stream"},
      {Of(Reason::kNodeBusy, "drive0", "commit source", {Job("commit")}),
       "Node 'drive0' is busy: block device is in use by block job: commit"},
      {Of(Reason::kNodeBusy, "n", "change", {Job("mirror", "replaced")}),
       "Node 'n' is busy: block device is in use by block-job-complete"},
      {Of(Reason::kFrozenLink, "low", "backing top", {Job("stream")}),
       "Cannot change frozen 'backing' link from 'top' to 'low'"},
      {Of(Reason::kUnleasableFilter, "commit-filter", "backing", {Job("commit")}),
       "Cannot freeze 'backing' link to 'commit-filter'"},
      {Of(Reason::kPermission, "n", "write",
          {{.id = "top", .type = "node", .as = "file"}, Job("stream", "active node")}),
       both + "node 'top' (uses node 'n' as 'file' child) and unshared by stream job 'j' (uses "
              "node 'n' as 'active node' child)."},
      {Of(Reason::kPermission, "n", "write",
          {{.id = "d", .type = "block device", .as = "root"}, Job("mirror", "target")}),
       both + "block device 'd' (uses node 'n' as 'root' child) and unshared by an unnamed block "
              "device (uses node 'n' as 'root' child)."},
      {Of(Reason::kPermission, "n", "write",
          {{.type = "block device", .as = "root"}, Job("commit", "base"), Job("stream", "x")}),
       both + "an unnamed block device (uses node 'n' as 'root' child) and unshared by an unnamed "
              "block device (uses node 'n' as 'root' child)."},
      {Of(Reason::kReadOnly), "Block node is read-only"},
      {Of(Reason::kNodeInUse), "Block device n is in use"},
      {Of(Reason::kImageLocked, "/a", "\"write\""), "Failed to get \"write\" lock"},
      {Of(Reason::kImageLocked, "/a", "shared \"write\""), "Failed to get shared \"write\" lock"},
      {Of(Reason::kImageLocked, "/a"), ""},
  };
}

std::vector<Case> OfNames() {
  return {
      {Of(Reason::kUnknownNode, "x"), "Cannot find device='x' nor node-name='x'"},
      {Of(Reason::kUnknownNode, "x", "node-name"), "Cannot find device='' nor node-name='x'"},
      {Of(Reason::kDuplicateNodeName), "Duplicate nodes with node-name='n'"},
      {Of(Reason::kDuplicateDeviceName), "Duplicate nodes with node-name='n'"},
      {Of(Reason::kMalformedNodeName, "#n"), "Invalid node-name: '#n'"},
      {Of(Reason::kNodeNameTooLong, "n", "31"), "Node name too long"},
      {Of(Reason::kNodeNameIsDevice, "drive0"), "node-name=drive0 is conflicting with a device id"},
      {Of(Reason::kUnknownFormat, "x"), "Unknown driver 'x'"},
      {Of(Reason::kUnknownFormat, "x", "protocol"), "Unknown protocol 'x'"},
      {Of(Reason::kOtherFormat, "qcow2"), "Image is not in qcow2 format"},
  };
}

std::vector<Case> OfPlaces() {
  return {
      {Of(Reason::kNotInChain, "base", "top"), "'base' is not in the backing chain of 'top'"},
      {Of(Reason::kNotBacking, "base", "top"), "Node 'base' is not a backing image of 'top'"},
      {Of(Reason::kSameNode, "n", "mirror"), "Can't mirror node into itself"},
      {Of(Reason::kSameNode, "n", "stream top"), "Node 'n' is not a backing image of 'top'"},
      {Of(Reason::kSameNode, "n", "through-filters"),
       "Invalid files for merge: top and base are the same"},
      {Of(Reason::kSameNode), "cannot commit an image into itself"},
      {Of(Reason::kNoBacking), "cannot commit an image into itself"},
      {Of(Reason::kCycle, "low", "top backing"),
       "Making 'low' a backing child of 'top' would create a cycle"},
      {Of(Reason::kIsFilter, "thr"), "Node 'thr' is a filter, use a non-filter node as 'bottom'"},
      {Of(Reason::kIsFilter, "thr", "mirror-target"),
       "Cannot mirror to a filter on top of a node in the source's backing chain"},
      {Of(Reason::kNotRoot), "Need a root block node"},
      {Of(Reason::kSizeMismatch), "Source and target image have different sizes"},
      {Of(Reason::kSizeMismatch, "n", "replaces"),
       "cannot replace image with a mirror image of different size"},
      {Of(Reason::kUnalignedSize, "n", "4096"),
       "Cannot get 'write' permission without 'resize': Image size is not a multiple of request "
       "alignment"},
      {Of(Reason::kViewWouldChange, "to", "source"),
       "Cannot replace 'to' by a node mirrored from 'source', because it cannot be guaranteed "
       "that doing so would not lead to an abrupt change of visible data"},
  };
}

std::vector<Case> OfOptions() {
  return {
      {Of(Reason::kMutuallyExclusive, "n", "base base-node"),
       "'base' and 'base-node' cannot be specified at the same time"},
      {Of(Reason::kMutuallyExclusive, "n", "backing-file base"),
       "backing file specified, but streaming the entire chain"},
      {Of(Reason::kMutuallyExclusive, "n", "backing-file active-layer"),
       "'backing-file' specified, but 'top' is the active layer"},
      {Of(Reason::kMutuallyExclusive, "n", "backing-file writer"),
       "'backing-file' specified, but 'top' has a writer on it"},
      {Of(Reason::kInvalidOption, "n", "granularity 512B-64MB"),
       "Parameter 'granularity' expects a value in range [512B, 64MB]"},
      {Of(Reason::kInvalidOption, "n", "granularity power-of-two"),
       "Parameter 'granularity' expects a power of 2"},
      {Of(Reason::kInvalidOption, "n", "buf-size non-negative"), "Invalid parameter 'buf-size'"},
      {Of(Reason::kInvalidOption, "g", "throttle-group must exist"),
       "Throttle group 'g' does not exist"},
      {Of(Reason::kInvalidOption, "n", "raw-window 2 1 1"),
       "Offset (2) cannot be greater than size of the containing file (1)"},
      {Of(Reason::kInvalidOption, "n", "raw-window 1 2 2"),
       "The sum of offset (1) and size (2) has to be smaller or equal to the  actual size of the "
       "containing file (2)"},
      {Of(Reason::kInvalidOption, "n", "raw-window 1"), ""},
      {Of(Reason::kInvalidOption, "n", "fault-limit align 3"),
       "Cannot meet constraints with align 3"},
      {Of(Reason::kUnsupportedByDriver, "n", "file"),
       "A block device must be specified for \"file\""},
      {Of(Reason::kUnsupportedByDriver, "n", "image"),
       "A block device must be specified for \"image\""},
      {Of(Reason::kUnsupportedByDriver, "n", "driver or file"),
       "Must specify either driver or file"},
      {Of(Reason::kUnsupportedByDriver, "n", "discard"), ""},
  };
}

// For these QEMU has no text of its own, or says it where the command is known.
constexpr Reason kOursAlone[] = {
    Reason::kUnknownJob,   Reason::kTransactionClosed, Reason::kCancelledBefore,
    Reason::kShuttingDown, Reason::kNotDrained,        Reason::kStaleNode,
    Reason::kHasBacking,   Reason::kNotFilter,         Reason::kNodeNotOpen,
    Reason::kNothingAbove, Reason::kNotAttached,       Reason::kNotPermitted,
    Reason::kOutOfRange,   Reason::kForbiddenName,     Reason::kMissingFormat,
    Reason::kHostFile,     Reason::kUnsupportedFeature};

std::vector<Case> All() {
  std::vector<Case> all;
  for (const auto& some : {OfJobs(), OfHolders(), OfNames(), OfPlaces(), OfOptions()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

TEST(ConflictText, IsWhatQemuSays) {
  for (const Case& each : All()) {
    EXPECT_EQ(ConflictText(each.conflict), each.text)
        << ConflictReasonName(each.conflict.reason) << " " << each.conflict.detail;
  }
}

TEST(ConflictText, IsEmptyWhereQemuSaysNothing) {
  for (const Reason reason : kOursAlone) {
    EXPECT_THAT(ConflictText(Of(reason)), IsEmpty()) << ConflictReasonName(reason);
  }
}

TEST(ConflictText, IsToldOfEveryReason) {
  std::set<Reason> told(std::begin(kOursAlone), std::end(kOursAlone));
  for (const Case& each : All()) told.insert(each.conflict.reason);
  for (int i = 0; ConflictReasonName(static_cast<Reason>(i)) != "unknown"; ++i) {
    EXPECT_TRUE(told.contains(static_cast<Reason>(i)))
        << "no row for " << ConflictReasonName(static_cast<Reason>(i));
  }
}

// What does not fit a row must not be read beyond its end.
TEST(ConflictText, SurvivesWhatIsMissing) {
  EXPECT_EQ(ConflictText(Of(Reason::kNodeBusy)),
            "Node 'n' is busy: block device is in use by block job: ");
  EXPECT_THAT(ConflictText(Of(Reason::kPermission, "n", "write", {Job("stream")})), IsEmpty());
  EXPECT_EQ(ConflictText(Of(Reason::kVerbNotAccepted, "j", "pause")),
            "Job 'j' in state '' cannot accept command verb 'pause'");
}

}  // namespace
}  // namespace millrace::conflict_text_test
