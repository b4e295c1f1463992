// A lock that is not kept would be released at once.
// expect: ignoring return value of function declared with|ignoring temporary
#include "millrace/engine/sync/mutex.h"

void CoCareless(millrace::Mutex& mutex) MILLRACE_MAY_SUSPEND { millrace::CoHold(mutex); }
