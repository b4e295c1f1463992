// A HostScope lets host code open views; it does not make it a coroutine.
// expect: calling function 'CoYield' requires holding permission 'kMaySuspend'
#include "millrace/engine/coroutine/coroutine.h"

void Host() {
  millrace::HostScope host;
  millrace::CoYield();
}
