// The format that the first bytes of a file suggest. Only for files whose format nobody stated, and
// where guessing was asked for: a guest can write any header into a raw disk.
//
// All formats are known that QEMU 7.2 tells by their content, not only those that there is a driver
// for: an image of one of these is not raw, and what a guest writes must not make QEMU believe that
// its disk is one (drivers/first_sector.h). Plain functions; any thread.
#ifndef MILLRACE_GRAPH_IO_FORMAT_PROBE_H_
#define MILLRACE_GRAPH_IO_FORMAT_PROBE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace millrace {

// How much of a file is looked at; what it does not have counts as zeroes.
inline constexpr size_t kProbeBytes = 512;

// A driver's name: "qcow2", "vmdk" …, or "raw" if it looks like none of them.
std::string_view ProbeFormat(absl::Span<const uint8_t> head);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_FORMAT_PROBE_H_
