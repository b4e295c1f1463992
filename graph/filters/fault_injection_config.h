// Reads the rules of fault injection from the text of a blkdebug configuration file:
//
//   # the second flush fails, once
//   [set-state]
//   event = "flush_to_disk"
//   state = "1"
//   new_state = "2"
//
//   [inject-error]
//   event = "flush_to_disk"
//   state = "2"
//   errno = "28"
//   once = "on"
//
// Keys of [inject-error]: event, state, errno, sector, once, immediately, iotype (read, write,
// write-zeroes, discard, flush, block-status). Keys of [set-state]: event, state, new_state. Values
// may stand without quotes.
#ifndef MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_CONFIG_H_
#define MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_CONFIG_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/filters/fault_injection.h"

namespace millrace {

// Fills `inject` and `set_state` of the answer. InvalidArgument, with the line's number.
absl::StatusOr<FaultInjectionOptions> ParseFaultInjectionConfig(std::string_view text);

// Takes the rules that are given as options ("inject-error.0.event", "set-state.1.new_state") out
// of `options` and writes them as such a text. InvalidArgument for a value that no text can hold.
absl::Status TakeFaultInjectionRules(DriverOptions& options, std::string* text);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_CONFIG_H_
