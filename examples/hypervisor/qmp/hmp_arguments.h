// HmpSyntax: what a command of the human monitor takes, and how its line is read into the arguments
// of a QMP command.
//
//   const HmpSyntax syntax = {"block_resize", {{"device", HmpKind::kDevice},
//                                              {"size", HmpKind::kSize}}};
//   ReadHmpArguments(syntax, "drive0 8M")   ->   {"device": "drive0", "size": 8388608}
//
// Mistakes are told as a terminal shows them: "block_resize: block device name expected", and where
// to look. Plain data; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_ARGUMENTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_ARGUMENTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

enum class HmpKind : uint8_t {
  kFlag,    // "-f"; true if it is there, else absent
  kDevice,  // a word; the kinds of words differ in what is said when one is missing
  kFileName,
  kText,
  kSize,    // "64k", "1.5G"; mebibytes without a suffix
  kNumber,  // 10, 0x10, -3
  kRest,    // all that is left of the line
};

struct HmpParameter {
  std::string_view name;  // of the QMP argument
  HmpKind kind = HmpKind::kText;
  bool is_optional = false;
  char flag = '\0';  // of kFlag
};

struct HmpSyntax {
  std::string_view name;   // in complaints: "stop|s"
  std::string_view topic;  // what help is to be asked about: "stop", "info block"
  std::vector<HmpParameter> parameters;
};

// InvalidArgument: its message is what the terminal shows, lines ending with "\r\n".
absl::StatusOr<json::object> ReadHmpArguments(const HmpSyntax& syntax, std::string_view line);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_ARGUMENTS_H_
