// Code outside coroutines cannot wait as a coroutine does; it uses Engine::Run.
// expect: calling function 'CoSleepFor' requires holding permission 'kMaySuspend'
// expect: calling function 'CoSleepFor' requires holding permission 'kNoOpenView'
#include "millrace/engine/sync/sleep.h"

int main() { return millrace::CoSleepFor(millrace::kSecond).ok() ? 0 : 1; }
