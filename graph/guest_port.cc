#include "millrace/graph/guest_port.h"

#include "millrace/engine/base/check.h"

namespace millrace {

bool GuestPort::Submit(GuestRequest& request) const {
  MILLRACE_CHECK(request.completion != nullptr, "guest request submitted without a completion");
  return queue_ != nullptr && queue_->Push(request);
}

}  // namespace millrace
