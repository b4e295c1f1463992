// copy-on-read: what is read from below the top image is kept in the top image.
//
// A read through the filter that comes from a layer between the filtered image and `bottom` is
// written into the filtered image, "only where unallocated", so a guest write that comes first is
// never overwritten. Data below `bottom` are not copied. A failing copy fails the read, as in QEMU.
// Writes pass through. It holds "write unchanged" on its child at all times.
#ifndef MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_
#define MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_

#include <memory>
#include <string>

#include "millrace/graph/driver.h"

namespace millrace {

struct CopyOnReadOptions {
  // Name of the lowest node whose data are copied; empty: the bottom of the chain.
  std::string bottom;
};

std::unique_ptr<FilterDriver> MakeCopyOnReadFilter(CopyOnReadOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_COPY_ON_READ_H_
