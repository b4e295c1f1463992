// A scope stays where its coroutines know it.
// expect: call to deleted constructor of 'millrace::TaskScope'
#include <utility>

#include "millrace/engine/scope/task_scope.h"

void Move(millrace::TaskScope& scope) { millrace::TaskScope moved(std::move(scope)); }
