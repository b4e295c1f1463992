// The option texts of QEMU's command lines, as JSON objects.
//
// Three dialects exist, and clients use all of them:
//   keyval      "driver=qcow2,file.driver=file,children.0=a": dots nest, numbers make lists, ",,"
//               is a comma; a first word without "=" belongs to an implied key. --blockdev,
//               --object, --monitor, --export, --nbd-server.
//   legacy      as keyval, but "flag" means flag=on and "noflag" flag=off. --chardev, --device,
//               --add-fd.
//   drive       legacy, with "file=" set apart: it is a file name, and "file.x=" options of what
//               that name opens. So is "cache=", a name for several "cache.x=". --drive.
// Text that starts with "{" is JSON in each of them (in QEMU's dialect: see qmp/json_text.h).
//
// Errors are QMP errors in QEMU's words. No suspension, any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_KEYVAL_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_KEYVAL_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// Options, and how their scalars are written: what an ArgumentReader is made from.
struct OptionValue {
  json::object object;
  ScalarStyle style = ScalarStyle::kTyped;

  // `this` must outlive the reader.
  ArgumentReader Reader() const { return ArgumentReader(object, style); }
};

// `implied_key` is the key of a first word without "="; "" if there is none.
absl::StatusOr<OptionValue> ParseKeyval(std::string_view text, std::string_view implied_key);
absl::StatusOr<OptionValue> ParseLegacyOptions(std::string_view text, std::string_view implied_key);

struct DriveOptionValue {
  std::optional<std::string> filename;    // of "file="
  std::optional<std::string> cache_mode;  // of "cache=", which may stand beside "cache.x="
  OptionValue options;                    // all the rest, nested
};
absl::StatusOr<DriveOptionValue> ParseDriveOptions(std::string_view text);

// Nests members whose names have dots, as in "json:{'file.driver': 'file'}": {"a.b": 1} becomes
// {"a": {"b": 1}}, {"a.0": .., "a.1": ..} a list. Values stay as they are. Also within nested
// objects.
absl::StatusOr<json::object> NestDottedMembers(const json::object& object);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_KEYVAL_H_
