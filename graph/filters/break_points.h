// BreakPoints: stop a request at a named event, by a tag, and let it go later. A test's hand inside
// a node's fault injection filter.
//
//   auto breaks = std::make_shared<BreakPoints>();     // also given to the filter's options
//   breaks->Add("write_aio", "w1");                    // the next request to come there stops
//   breaks->CoWaitSuspended("w1");
//   ...                                                // it is in flight, and stands still
//   breaks->Resume("w1");
//
// Home thread. A request that is suspended is in flight: a drain of its node waits until it goes
// on.
#ifndef MILLRACE_GRAPH_FILTERS_BREAK_POINTS_H_
#define MILLRACE_GRAPH_FILTERS_BREAK_POINTS_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class BreakPoints final : public Waitable {
 public:
  BreakPoints() = default;
  // Nobody may be suspended or wait (checked).
  ~BreakPoints() = default;
  BreakPoints(const BreakPoints&) = delete;
  BreakPoints& operator=(const BreakPoints&) = delete;

  // Suspends the next request that comes to `event`; works once. InvalidArgument if there is no
  // such event. Several of one event stop one request after the other.
  absl::Status Add(std::string_view event, std::string tag);
  // Lets the request go that has been suspended under the tag for longest. NotFound if none is.
  absl::Status Resume(std::string_view tag);
  // Takes back break points of the tag that were not reached, and resumes all its requests.
  // NotFound if there was neither.
  absl::Status Remove(std::string_view tag);
  // Takes back all break points and resumes all requests.
  void RemoveAll();
  // The same for good: from here on no request stops, and nobody waits for one that does.
  void Close();
  bool IsSuspended(std::string_view tag) const;
  // Whether Remove() would find anything.
  bool Has(std::string_view tag) const;
  // Returns once a request is suspended under the tag; at once if one is, or after Close().
  void CoWaitSuspended(std::string_view tag) MILLRACE_MAY_SUSPEND;

  // Hears "Suspended" and "Resuming" with the tag, as it happens; must not suspend.
  using Listener = std::function<void(std::string_view what, std::string_view tag)>;
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // For the filter: a request has come to `event`.
  void CoReach(std::string_view event) MILLRACE_MAY_SUSPEND;

  void DescribeWait(WaitDescription& description) const override;

 private:
  struct BreakPoint {
    std::string event;
    std::string tag;
  };
  // A request that stands still. Lives on its coroutine's stack.
  struct Suspended final : Waitable {
    explicit Suspended(std::string its_tag) : tag(std::move(its_tag)) {}
    void DescribeWait(WaitDescription& description) const override;

    const std::string tag;
    WaitQueue queue;
    ListLink link;
  };
  Suspended* Find(std::string_view tag) const;

  std::vector<BreakPoint> break_points_;                  // in order of adding
  IntrusiveList<Suspended, &Suspended::link> suspended_;  // in order of arrival
  WaitQueue watchers_;
  Listener listener_;
  bool is_closed_ = false;
};

// Whether QEMU's blkdebug knows an event of that name ("none" included).
bool IsFaultEvent(std::string_view name);
// All of them. Some are never raised here; tests/graph/filters/fault_events_test.cc says which, and
// why.
std::vector<std::string_view> FaultEventNames();

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_BREAK_POINTS_H_
