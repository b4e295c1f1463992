#include "examples/hypervisor/block/job_options.h"

#include <string>

namespace millrace {

OnError ReadOnError(ArgumentReader& reader, std::string_view name) {
  constexpr OnError kPolicies[] = {OnError::kReport, OnError::kIgnore, OnError::kEnospc,
                                   OnError::kStop, OnError::kAuto};
  const std::optional<size_t> index = reader.OptionalEnum(name, kOnErrorNames);
  return index ? kPolicies[*index] : OnError::kReport;
}

void ReadBlockJobOptions(ArgumentReader& reader, BlockJobOptions* options) {
  options->spec.id = reader.OptionalString("job-id");
  options->spec.speed = reader.OptionalInteger("speed").value_or(0);
  options->spec.finalizes_automatically = reader.OptionalBool("auto-finalize").value_or(true);
  options->spec.dismisses_automatically = reader.OptionalBool("auto-dismiss").value_or(true);
  options->copy.latency_target =
      reader.OptionalUint32("x-millrace-latency-target").value_or(0) * kMicrosecond;
  options->filter_name = reader.OptionalString("filter-node-name").value_or("");
}

void AppendBlockJobArguments(std::vector<ArgumentSpec>* arguments) {
  arguments->push_back({"job-id", ArgumentType::kString, true});
  arguments->push_back({"speed", ArgumentType::kInteger, true});
  arguments->push_back({"filter-node-name", ArgumentType::kString, true});
  arguments->push_back({"auto-finalize", ArgumentType::kBool, true});
  arguments->push_back({"auto-dismiss", ArgumentType::kBool, true});
  arguments->push_back({"x-millrace-latency-target", ArgumentType::kUint32, true});
}

ArgumentSpec OnErrorArgument(std::string_view name) {
  return {std::string(name),
          ArgumentType::kEnum,
          true,
          {std::begin(kOnErrorNames), std::end(kOnErrorNames)}};
}

}  // namespace millrace
