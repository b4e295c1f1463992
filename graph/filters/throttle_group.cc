#include "millrace/graph/filters/throttle_group.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

ThrottleDirection Opposite(ThrottleDirection direction) {
  return direction == ThrottleDirection::kRead ? ThrottleDirection::kWrite
                                               : ThrottleDirection::kRead;
}

}  // namespace

// ---- Members ------------------------------------------------------------------------------------

ThrottleGroup::Member::Member(ThrottleGroup& group, std::string name)
    : group_(group), name_(std::move(name)) {
  group_.members_.PushBack(*this);
}

ThrottleGroup::Member::~Member() {
  MILLRACE_MUTANT(kR32) group_.scheduler_.Disarm(group_.timer_);  // it was the leaving one's
  MILLRACE_CHECK(waiting() == 0, "a throttled node goes away while requests wait in it");
  group_.members_.Remove(*this);
}

size_t ThrottleGroup::Member::waiting() const { return queues_[0].size() + queues_[1].size(); }

void ThrottleGroup::Member::CoPass(ThrottleDirection direction, uint64_t bytes) {
  // Whoever waits in this direction came first.
  if (drains_ > 0 || (group_.NextMember(direction) == nullptr &&
                      group_.buckets_.WaitOf(direction, group_.scheduler_.Now()) == 0)) {
    group_.buckets_.Charge(direction, bytes);
    return;
  }
  Request request(*this, bytes);
  QueueOf(direction).PushBack(request);
  group_.LetPass();
  if (!request.may_pass) request.queue.CoWait("throttle.wait", &request);
  MILLRACE_MUTANT(kM24) group_.buckets_.Charge(direction, bytes);  // now that it passes
}

void ThrottleGroup::Member::BeginDrain() {
  MILLRACE_MUTANT(kR33) {  // its turn will come
    ++drains_;
    return;
  }
  if (++drains_ == 1) group_.LetPass();
}

void ThrottleGroup::Member::EndDrain() {
  MILLRACE_CHECK(drains_ > 0, "drain of a throttled node ended more often than begun");
  --drains_;
}

void ThrottleGroup::Member::Request::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("throttle group '", member.group_.name_, "' for ", bytes,
                              " bytes of '", member.name_, "'");
  description.external = true;  // a timer
}

// ---- The group ----------------------------------------------------------------------------------

ThrottleGroup::ThrottleGroup(Scheduler& scheduler, std::string name, const ThrottleLimits& limits)
    : scheduler_(scheduler),
      name_(std::move(name)),
      limits_(limits),
      timer_("throttle", &OnTimer, this) {
  MILLRACE_CHECK(limits.Validate().ok(), "throttle limits were not validated");
  buckets_.SetLimits(limits_, scheduler_.Now());
}

ThrottleGroup::~ThrottleGroup() {
  MILLRACE_CHECK(members_.empty(), "throttle group destroyed with members in it");
}

absl::Status ThrottleGroup::SetLimits(const ThrottleLimits& limits) {
  MILLRACE_RETURN_IF_ERROR(limits.Validate());
  limits_ = limits;
  buckets_.SetLimits(limits_, scheduler_.Now());
  MILLRACE_MUTANT(kR35) {  // the timers of the old limits go
    scheduler_.Disarm(timer_);
    return absl::OkStatus();
  }
  LetPass();
  return absl::OkStatus();
}

size_t ThrottleGroup::waiting() const {
  size_t count = 0;
  for (const Member* each = members_.front(); each != nullptr; each = members_.After(*each)) {
    count += each->waiting();
  }
  return count;
}

std::vector<std::string> ThrottleGroup::MemberNames() const {
  std::vector<std::string> names;
  for (const Member* each = members_.front(); each != nullptr; each = members_.After(*each)) {
    names.push_back(each->name_);
  }
  return names;
}

ThrottleGroup::Member* ThrottleGroup::NextMember(ThrottleDirection direction) {
  for (Member* each = members_.front(); each != nullptr; each = members_.After(*each)) {
    if (!each->QueueOf(direction).empty()) return each;
  }
  return nullptr;
}

// Charges at once, not when the coroutine runs: whoever comes next must see it.
void ThrottleGroup::Grant(Member& member, ThrottleDirection direction) {
  Member::Request& request = *member.QueueOf(direction).PopFront();
  bool charges = true;
  MILLRACE_MUTANT(kM24) charges = false;
  if (charges) buckets_.Charge(direction, request.bytes);
  request.may_pass = true;
  request.queue.WakeOne();
}

void ThrottleGroup::LetDrainedPass() {
  for (Member* each = members_.front(); each != nullptr; each = members_.After(*each)) {
    if (each->drains_ == 0) continue;
    for (ThrottleDirection direction : {ThrottleDirection::kRead, ThrottleDirection::kWrite}) {
      while (!each->QueueOf(direction).empty()) Grant(*each, direction);
    }
  }
}

void ThrottleGroup::LetPass() {
  LetDrainedPass();
  const Nanoseconds now = scheduler_.Now();
  // 0 if one was granted (there may be another), else when to try again.
  const auto grant_or_wait = [&]() -> Nanoseconds {
    Nanoseconds shortest = kNever;
    for (ThrottleDirection direction : {Opposite(last_granted_), last_granted_}) {
      Member* const member = NextMember(direction);
      if (member == nullptr) continue;
      const Nanoseconds wait = buckets_.WaitOf(direction, now);
      shortest = std::min(shortest, wait);
      if (wait > 0) continue;
      Grant(*member, direction);
      last_granted_ = direction;
      members_.Remove(*member);
      members_.PushBack(*member);
      break;
    }
    return shortest;
  };
  Nanoseconds wait;
  do {
    wait = grant_or_wait();
  } while (wait == 0);
  if (wait == kNever) {
    scheduler_.Disarm(timer_);
  } else {
    scheduler_.Arm(timer_, now + wait);
  }
}

}  // namespace millrace
