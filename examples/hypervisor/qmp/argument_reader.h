// ArgumentReader: typed reads from the arguments of a command, or the options of a node or device,
// refused in QEMU's words.
//
//   ArgumentReader reader(arguments);
//   const std::string device = reader.String("device");
//   const std::optional<int64_t> speed = reader.OptionalInteger("speed");
//   const std::optional<size_t> on_error = reader.OptionalEnum("on-error", kOnErrorNames);
//   MILLRACE_RETURN_IF_ERROR(reader.Finish());
//
// The first thing wrong is kept; reads after it return an empty value, so only Finish() need be
// asked, after all members were read. It also refuses members that nobody read. Nested readers
// (Object) share the error with their parent and are finished before it goes on.
//
// Read members in the order of QEMU's schema: of two mistakes clients expect to hear the first.
// Values that came from text (`key=value`) are strings, whatever their type: the reader converts.
// Holds references to `options`; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_ARGUMENT_READER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_ARGUMENT_READER_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words);

// How scalars are written in an options object.
enum class ScalarStyle : uint8_t {
  kTyped,  // from JSON: numbers are numbers, booleans are booleans
  kText,   // from key=value: every scalar is a string
};

class ArgumentReader {
 public:
  // `options` must outlive the reader. `path` names the object in texts: "" or "file" or
  // "children[0]".
  explicit ArgumentReader(const json::object& options, ScalarStyle style = ScalarStyle::kTyped,
                          std::string_view path = "");

  bool Has(std::string_view name) const { return options_.if_contains(Key(name)) != nullptr; }
  ScalarStyle style() const { return style_; }
  const json::object& options() const { return options_; }

  // Required members: "Parameter 'x' is missing".
  std::string String(std::string_view name);
  int64_t Integer(std::string_view name);
  bool Bool(std::string_view name);
  size_t Enum(std::string_view name, absl::Span<const std::string_view> values);

  // Optional members: nothing if absent (or after an error).
  std::optional<std::string> OptionalString(std::string_view name);
  std::optional<int64_t> OptionalInteger(std::string_view name);
  // Text may have a suffix: "64k", "1G".
  std::optional<uint64_t> OptionalSize(std::string_view name);
  // Within the range of a uint32_t: "Parameter 'x' expects uint32_t".
  std::optional<uint32_t> OptionalUint32(std::string_view name);
  // Text: on, yes, true, y and their opposites.
  std::optional<bool> OptionalBool(std::string_view name);
  // Index into `values`: "Parameter 'x' does not accept value 'foo'".
  std::optional<size_t> OptionalEnum(std::string_view name,
                                     absl::Span<const std::string_view> values);
  // A nested object; nothing if absent.
  std::optional<ArgumentReader> OptionalObject(std::string_view name);
  // A nested array; null if absent. Give Element() of it a name with an index.
  const json::array* OptionalArray(std::string_view name);
  // Any value, unchecked; null if absent.
  const json::value* OptionalAny(std::string_view name);

  // A reader for an element of a nested array, or for a value from OptionalAny() that is an object
  // (checked by the caller); `name` is "children[0]".
  ArgumentReader Nested(std::string_view name, const json::object& options) const;

  // Everything read so far and not read since will be left alone: no "is unexpected".
  void AcceptRest() { accepts_rest_ = true; }
  // "Parameter 'x' is missing".
  void FailMissing(std::string_view name);
  // Keeps an error, if it is the first.
  void Fail(absl::Status status);
  bool ok() const { return shared_->ok(); }

  // The first error, or "Parameter 'x' is unexpected" for a member that nobody read.
  absl::Status Finish();

 private:
  static json::string_view Key(std::string_view name) { return {name.data(), name.size()}; }
  // Null if absent, or after an error; marks the member as read.
  const json::value* Take(std::string_view name);
  std::string FullName(std::string_view name) const;
  void FailType(std::string_view name, std::string_view expected);
  void FailExpects(std::string_view name, std::string_view expected);

  const json::object& options_;
  const ScalarStyle style_;
  const std::string path_;
  std::set<std::string, std::less<>> read_;
  std::shared_ptr<absl::Status> shared_;
  bool accepts_rest_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_ARGUMENT_READER_H_
