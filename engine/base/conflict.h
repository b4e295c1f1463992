// Conflict: why a request was refused, for programs.
//
// Refusals carry one: whatever is not done because of the state of a job, a node, a file or an
// image that somebody holds, because of a name that means nothing or something else, or because an
// option is out of its range. Errors that are not about the request carry none: what the bytes of
// an image say (DataLoss, InvalidArgument from a header), what the host answers to I/O (its errno
// is attached, engine/io/io_error.h; of a file that cannot be opened there is a conflict,
// kHostFile, as well), memory that cannot be had, and texts that cannot be parsed (options of
// drivers, blkdebug's rules).
//
// It travels as a payload of the absl::Status, beside our own text for people. A caller that speaks
// another protocol (QMP) renders its own words from it and never parses ours:
//
//   absl::Status status = manager.Pause("drive0");
//   if (std::optional<Conflict> conflict = ConflictOf(status)) {
//     if (conflict->reason == ConflictReason::kAlreadyPaused) ...
//   }
//
// Plain data; any thread.
#ifndef MILLRACE_ENGINE_BASE_CONFLICT_H_
#define MILLRACE_ENGINE_BASE_CONFLICT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

enum class ConflictReason : uint8_t {
  // ---- Jobs; object is the job's id -------------------------------------------------------------
  kUnknownJob,         // no job has this id
  kDuplicateJobId,     // a job (holder) has this id, perhaps concluded and not dismissed
  kMalformedJobId,     // not a letter followed by letters, digits, '-', '.' and '_'
  kMissingJobId,       // an id must be given; detail "device": the node (object) lends no name
  kInternalJobId,      // an internal job cannot have an id
  kVerbNotAccepted,    // detail is "<verb> <state>", in wire names
  kAlreadyPaused,      // the user paused it before
  kNotPaused,          // the user did not pause it
  kCannotComplete,     // a cancel is under way, or its type cannot be completed by hand
  kNegativeSpeed,      // a speed is a non-negative number of bytes a second
  kPausedNeedsForce,   // a job paused by the user is cancelled by force only
  kChangeUnsupported,  // its type has nothing that can be changed, or not to this
  kTransactionClosed,  // the job transaction has begun to end; nothing can join it
  kCancelledBefore,    // the job was cancelled before it was started
  kShuttingDown,       // the engine is ending its jobs; it creates no more

  // ---- Graph; object is a link, or a node's name: its device's, if it has one ---------------------
  kNodeBusy,             // an operation claim of a holder forbids the operation (detail)
  kFrozenLink,           // a holder leases the link
  kUnleasableFilter,     // a link to a filter (object) that its owner must be able to remove
  kPermission,           // two users' permissions exclude each other
  kReadOnly,             // the node is read-only
  kNotDrained,           // an edge was to change under traffic
  kCycle,                // the edit would make a node its own descendant
  kStaleNode,            // the node is gone; a holder removed it
  kUnknownNode,          // no node has this name; detail "node-name": and no device was looked for
  kDuplicateNodeName,    // another node has this name
  kMalformedNodeName,    // not a node name
  kNodeNameTooLong,      // detail is the limit
  kNodeNameIsDevice,     // an attachment has this name
  kNodeInUse,            // somebody is attached to it, or a node points at it
  kNotInChain,           // not below the top of the chain
  kNotBacking,           // not a backing node of the given one
  kSameNode,             // top is base; detail may say who asked: "stream <top>", "mirror"
  kNoBacking,            // the node has nothing below
  kHasBacking,           // the node already has something below
  kIsFilter,             // a filter cannot be used here
  kNotFilter,            // only a filter can be used here
  kNotRoot,              // only a root, with nothing above it, can be used here
  kSizeMismatch,         // the two nodes differ in size
  kUnalignedSize,        // a writer that cannot resize it would write beyond the end: its length is
                         // no multiple of the alignment (detail) of its driver
  kUnsupportedByDriver,  // the driver cannot do it (detail: what)
  kViewWouldChange,      // replacing the node (object) would change what its users see
  kMutuallyExclusive,    // two options (detail) exclude each other
  kInvalidOption,        // an option's value; detail is "<option> <what it must be>"
  kDuplicateDeviceName,  // an attachment (holder), or a node (holder), has this name
  kNodeNotOpen,          // the node was added and never opened
  kNothingAbove,         // nobody would see an edit above the node: nothing that moves points at it
  kNotAttached,          // the attachment has no node (a drive without a medium); no object
  kNotPermitted,         // the attachment (holder) did not ask for the permission (detail)
  kOutOfRange,           // the range lies beyond the end of the node; detail is its size in bytes

  // ---- Files and images -------------------------------------------------------------------------
  kImageLocked,        // somebody has the file open in a way that excludes ours; detail is the
                       // permission in quotes, behind "shared " if it is they who use it
  kForbiddenName,      // the open gate forbids the name
  kUnknownFormat,      // no driver is registered under this name
  kMissingFormat,      // a format would have to be guessed where that is not safe
  kOtherFormat,        // the content is not of the format (object)
  kHostFile,           // the host refuses the file (object); its errno is attached
  kUnsupportedFeature  // detail names the feature
};

// "verb-not-accepted": stable, for JSON and logs.
std::string_view ConflictReasonName(ConflictReason reason);

// Who is in the way.
struct ConflictHolder {
  std::string id{};       // "drive0"
  std::string type{};     // "stream job", "node", "attachment", "process"
  Nanoseconds since = 0;  // engine time at which it took hold; 0 if it is not known
  // By which edge ("root", "backing"), where that matters; a process: its program, if it is known.
  std::string as{};

  friend bool operator==(const ConflictHolder&, const ConflictHolder&) = default;
};

struct Conflict {
  ConflictReason reason = ConflictReason::kUnknownJob;
  std::string object{};
  std::vector<ConflictHolder> holders{};
  std::string next_step{};  // what to do next: "finalize or cancel 'drive0' first"
  std::string detail{};     // one more fact; its meaning is fixed per reason

  friend bool operator==(const Conflict&, const Conflict&) = default;
};

// A failed status (`code` is not kOk) that carries `conflict`. `text` is for people and stands
// alone; include the next step in it.
absl::Status ConflictStatus(absl::StatusCode code, const Conflict& conflict, std::string_view text);

// The same with the conflict's next step behind the text: "TEXT; NEXT STEP".
absl::Status RefusalStatus(absl::StatusCode code, const Conflict& conflict, std::string_view text);

// The conflict a status carries; nothing if it carries none.
std::optional<Conflict> ConflictOf(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_CONFLICT_H_
