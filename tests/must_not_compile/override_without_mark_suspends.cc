// An override that suspends is marked like any other function.
// expect: calling function 'CoYield' requires holding permission 'kMaySuspend'
// expect: calling function 'CoYield' requires holding permission 'kNoOpenView'
#include "millrace/engine/coroutine/coroutine.h"

class Base {
 public:
  virtual ~Base() = default;
  virtual void CoRun() MILLRACE_MAY_SUSPEND = 0;
};
class Derived : public Base {
 public:
  void CoRun() override { millrace::CoYield(); }
};
