// A function that is only marked as opening a view must not suspend.
// expect: calling function 'CoYield' requires holding permission 'kMaySuspend'
#include "millrace/engine/coroutine/coroutine.h"

void Claim() MILLRACE_OPENS_VIEW { millrace::CoYield(); }
