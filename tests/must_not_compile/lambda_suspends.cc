// A lambda does not inherit the permission of the function around it; it is marked by itself.
// expect: calling function 'CoYield' requires holding permission 'kMaySuspend'
// expect: calling function 'CoYield' requires holding permission 'kNoOpenView'
#include "millrace/engine/scope/task_scope.h"

absl::Status CoStart() MILLRACE_MAY_SUSPEND {
  millrace::TaskScope scope("start");
  scope.Spawn("child", [] { millrace::CoYield(); });
  return scope.CoJoin();
}
