// What commands of the human monitor share: a line is read, a command of QMP is called, and what
// came of it is told as a terminal shows it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_HUMAN_TOOLS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_HUMAN_TOOLS_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/hmp_arguments.h"

namespace millrace {

// Each "\n" as "\r\n".
std::string TerminalLines(std::string_view text);

// A refusal with its hint, lines ending with "\r\n".
std::string HumanRefusal(BlockLayer& layer, const absl::Status& status);
// Nothing if all is well, else "Error: ...\r\n".
std::string HumanResult(BlockLayer& layer, const absl::Status& status);

// A plan as that of a line, whose answer `tell` makes of a refusal. Who asks for help gets it, and
// nothing changes.
PlanResult AsPlanOfLine(BlockLayer& layer, PlanResult plan,
                        std::string (*tell)(BlockLayer& layer, const absl::Status& status));

// Calls a command of QMP, found and checked like a client's.
std::string CoCallForHuman(BlockLayer& layer, std::string_view command,
                           const json::object& arguments) MILLRACE_MAY_SUSPEND;

// May suspend; answers with what the terminal shows.
using HumanHandler = std::function<std::string(json::object arguments)>;
// What the handler would do: a refusal is what the terminal would show.
using HumanPlanner = std::function<PlanResult(json::object arguments)>;

// Registers a command under `name` (several words for "info block" are not possible; see
// human_info.cc). The handler is called only if the line could be read.
void RegisterHuman(BlockLayer& layer, std::string_view name, HmpSyntax syntax, HumanHandler handler,
                   HumanPlanner planner);

// Calls commands of QMP for a handler: carries them out, or plans them. Answers with what the
// terminal shows.
class HumanCall {
 public:
  using Call = std::function<std::string(std::string_view command, const json::object& given)>;
  // `unknown`: of a plan; null where commands are carried out.
  HumanCall(Call call, std::vector<std::string>* unknown)
      : call_(std::move(call)), unknown_(unknown) {}
  std::string operator()(std::string_view command, const json::object& given) const {
    return call_(command, given);
  }
  // What a plan cannot tell; false if commands are carried out.
  bool PlansWithout(std::string what) const {
    if (unknown_ != nullptr) unknown_->push_back(std::move(what));
    return unknown_ != nullptr;
  }

 private:
  Call call_;
  std::vector<std::string>* unknown_;
};
using HumanCaller = std::function<std::string(json::object arguments, const HumanCall& call)>;
// Registers a command that does nothing but call others.
void RegisterHumanCaller(BlockLayer& layer, std::string_view name, HmpSyntax syntax,
                         HumanCaller handler);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_HUMAN_TOOLS_H_
