#include "millrace/graph/guest_port.h"

#include "millrace/engine/base/check.h"

namespace millrace {

bool GuestPort::Submit(GuestRequest& request) const {
  MILLRACE_CHECK(request.completion != nullptr, "guest request submitted without a completion");
  MILLRACE_CHECK(!request.is_under_way,
                 "guest request submitted again before its completion was called");
  if (queue_ == nullptr) return false;
  request.is_under_way = true;  // before anybody else can see it
  if (queue_->Push(request)) return true;
  request.is_under_way = false;
  return false;
}

}  // namespace millrace
