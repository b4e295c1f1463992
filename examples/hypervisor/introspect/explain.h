// Who holds what, who waits for whom, and since when: the daemon's state as x-millrace-explain
// tells it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_EXPLAIN_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_EXPLAIN_H_

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

// {"now": engine time, "jobs": [..], "holders": [..], "waits": [..], "graph": {..}, "text": ".."}
//
// A holder is a job, a drive or whoever else has something: what it is attached to, which
// operations it claims where, which links it leases, which drained sections it owns. A wait is a
// coroutine that is suspended, what for, and who holds that. `as_dot`: "dot" in place of "text".
// Suspends nowhere.
json::object Explain(BlockLayer& layer, bool as_dot) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_EXPLAIN_H_
