// The copy-on-read filter: what a reader fetches from below, its child keeps.
//
// A read of a place that the child itself has allocated passes through. What comes from the chain
// below the child, down to `bottom` inclusive, is read once and written to the child where it is
// still unallocated ("write unchanged": nobody's view changes, and a guest's write that comes first
// is never overwritten). What comes from below `bottom` is read and not kept; without a `bottom`,
// everything is kept, even zeroes that no layer has.
//
// A read whose copy cannot be written fails, as in QEMU. Writes and everything else pass through.
// So do its users' reads while its owner says that it copies everything anyway (reads_pass).
#ifndef MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_
#define MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_

#include <memory>
#include <string>

#include "millrace/graph/driver.h"

namespace millrace {

struct CopyOnReadOptions {
  std::string bottom{};  // a node name, in the chain below the child; empty: no limit
  // A job's own filter, which must be removable when the job ends: nobody may lease a link to it.
  bool is_unleasable = false;
  // While it is true, users' reads are not kept, and cost what they cost without the filter; only
  // CoPrefetch() copies. Null: they always are. The owner's; home thread.
  std::shared_ptr<const bool> reads_pass{};
};

std::unique_ptr<FilterDriver> MakeCopyOnReadDriver(CopyOnReadOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_
