#include "examples/hypervisor/block/human_tools.h"

#include <optional>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {
std::string TerminalLines(std::string_view text) {
  std::string lines;
  for (const char c : text) {
    if (c == '\n') lines += '\r';
    lines += c;
  }
  return lines;
}

std::string HumanRefusal(BlockLayer& layer, const absl::Status& status) {
  if (const std::optional<std::string> help = HelpOf(status)) return TerminalLines(*help);
  const QmpErrorReply reply = RenderError(status, layer.host().renderer);
  std::string text = StrCat(reply.desc, "\n");
  if (!reply.hint.empty()) StrAppend(&text, reply.hint, "\n");
  return TerminalLines(text);
}

std::string HumanResult(BlockLayer& layer, const absl::Status& status) {
  if (status.ok()) return {};
  return StrCat(HelpOf(status) ? "" : "Error: ", HumanRefusal(layer, status));
}

std::string CoCallForHuman(BlockLayer& layer, std::string_view command,
                           const json::object& arguments) {
  return HumanResult(layer, layer.host().commands.CoCall(command, arguments).status());
}

void RegisterHuman(BlockLayer& layer, std::string_view name, HmpSyntax syntax,
                   HumanHandler handler) {
  layer.host().hmp.Register(
      name,
      [syntax = std::move(syntax), handler = std::move(handler)](std::string_view line)
          MILLRACE_MAY_SUSPEND -> std::string {
            absl::StatusOr<json::object> arguments = ReadHmpArguments(syntax, line);
            if (!arguments.ok()) return std::string(arguments.status().message());
            return handler(*std::move(arguments));
          });
}

}  // namespace millrace
