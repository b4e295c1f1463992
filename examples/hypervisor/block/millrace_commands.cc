// What QEMU has no words for: x-millrace-plan and x-millrace-explain.
#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

json::array Lines(const std::string& text) {
  json::array lines;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(json::string(line.data(), line.size()));
  }
  return lines;
}

json::value GraphAsJson(BlockLayer& layer) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return json::parse(DescribeJson(view));
}

std::string GraphAsText(BlockLayer& layer, bool as_dot) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return as_dot ? DescribeDot(view) : DescribeText(view);
}

CommandResult Explain(BlockLayer& layer, bool as_dot) MILLRACE_OPENS_VIEW {
  return json::object{{"now", layer.host().engine.clock().Now()},
                      {"waits", Lines(layer.host().engine.scheduler().DescribeWaits())},
                      {"graph", GraphAsJson(layer)},
                      {as_dot ? "dot" : "text", GraphAsText(layer, as_dot)}};
}

}  // namespace

void RegisterMillraceCommands(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "x-millrace-explain",
       .arguments = {{{"dot", ArgumentType::kBool, true}}},
       .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
         ArgumentReader reader(arguments);
         return Explain(layer, reader.OptionalBool("dot").value_or(false));
       }});
}

}  // namespace millrace
