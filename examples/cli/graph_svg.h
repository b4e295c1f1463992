// The graph of a running daemon as a picture (SVG): chains from the top down, each image's file
// beside it; frozen links thick and with who holds them, drained nodes grey, and beside each chain
// the span of every job that works on it.
#ifndef MILLRACE_EXAMPLES_CLI_GRAPH_SVG_H_
#define MILLRACE_EXAMPLES_CLI_GRAPH_SVG_H_

#include <string>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// `graph` is the "graph" member of x-millrace-explain's answer.
std::string DrawGraphAsSvg(const json::value& graph);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_GRAPH_SVG_H_
