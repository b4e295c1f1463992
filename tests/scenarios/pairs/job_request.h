// JobRequest: one thing that a user may ask of a chain of images, and what it leaves of the chain;
// and all of them for a chain of a given length.
#ifndef MILLRACE_TESTS_SCENARIOS_PAIRS_JOB_REQUEST_H_
#define MILLRACE_TESTS_SCENARIOS_PAIRS_JOB_REQUEST_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "tests/support/chain_story.h"

namespace millrace {

enum class RequestKind : uint8_t {
  kStream,          // into `top`, down to `base`, which stays; without one, everything
  kStreamToBottom,  // into `top`, down to `base` plus one, which goes; named as the bottom
  kCommit,          // of `top` into `base`
  kActiveCommit,    // the same, of the guest's own image
  kMirror,          // of the guest's own image to a target beside the chain
  kInsertFilter,    // above `top`
};

// Which end of a request is not a layer but the filter that another job keeps on that layer.
enum class FilterEnd : uint8_t { kNone, kTop, kBase, kBottom };

// How a request is started.
struct JobStart {
  std::string id;
  bool finalizes_by_hand = false;
  std::string filter_name{};    // of the job's own filter; empty: it is implicit
  std::string others_filter{};  // what the request's FilterEnd is called
  int64_t speed = 1;  // in bytes a second; it stands still at its first piece. 0: no limit
};

struct JobRequest {
  RequestKind kind = RequestKind::kStream;
  size_t top = 0;
  std::optional<size_t> base;
  FilterEnd names_filter = FilterEnd::kNone;

  // "stream 4 over 2"; "stream 4 over the filter on 2".
  std::string InWords() const;
  // Whether there is anything to copy. What has nothing does not stand still.
  bool HasWork() const;
  // The layers that are not in the guest's chain any more once it has succeeded.
  std::set<size_t> Removes(size_t layers) const;
  // Starts it as a job that is not dismissed by itself. A mirror's target, which is called after
  // the job, is kept by `hold`.
  absl::Status CoStart(ChainStory& story, const JobStart& start, Attachment* hold) const
      MILLRACE_MAY_SUSPEND;
  // Tells the views what its success has changed.
  void Account(ChainStory& story) const;
};

// Every request of every kind and range on a chain of so many images.
std::vector<JobRequest> AllRequests(size_t layers);

// Those that name the filter of a job that is already there: as the base of streams and commits
// above it, as a bottom, as a top, as what is mirrored, as what a filter is put on.
std::vector<JobRequest> RequestsOfFilterOf(const JobRequest& other, size_t layers);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_PAIRS_JOB_REQUEST_H_
