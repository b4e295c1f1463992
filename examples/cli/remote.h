// What the commands that look into a running daemon share.
#ifndef MILLRACE_EXAMPLES_CLI_REMOTE_H_
#define MILLRACE_EXAMPLES_CLI_REMOTE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// Prints an error of the daemon's, or of reaching it; returns the exit code. What the daemon says
// beyond its text (who holds what, what to do next) is printed too.
int ReportRemoteError(const absl::Status& status, bool as_json);

// Members of a JSON object: what the daemon left out, or gave in another type, is empty, 0 or
// false.
std::string_view TextAt(const json::value& object, std::string_view key);
int64_t NumberAt(const json::value& object, std::string_view key);
bool FlagAt(const json::value& object, std::string_view key);
const json::array& ListAt(const json::value& object, std::string_view key);
const json::value& At(const json::value& object, std::string_view key);

// "stream job 'drive0'"; "an unnamed block device".
std::string HolderInWords(const json::value& holder);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_REMOTE_H_
