// A function that is not marked cannot call one that may suspend.
// expect: calling function 'CoYield' requires holding permission 'kMaySuspend'
// expect: calling function 'CoYield' requires holding permission 'kNoOpenView'
#include "millrace/engine/coroutine/coroutine.h"

void Plain() { millrace::CoYield(); }
