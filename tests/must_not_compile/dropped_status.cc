// An error cannot be dropped silently.
// expect: ignoring return value of function declared with
#include "millrace/engine/sync/sleep.h"

void CoCareless() MILLRACE_MAY_SUSPEND { millrace::CoSleepFor(millrace::kSecond); }
