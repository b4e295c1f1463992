// The rule is transitive: an unmarked helper between two Co functions is found out.
// expect: calling function 'CoLeaf' requires holding permission 'kMaySuspend'
// expect: calling function 'CoLeaf' requires holding permission 'kNoOpenView'
#include "millrace/engine/coroutine/coroutine.h"

void CoLeaf() MILLRACE_MAY_SUSPEND { millrace::CoYield(); }
void Helper() { CoLeaf(); }
void CoRoot() MILLRACE_MAY_SUSPEND { Helper(); }
