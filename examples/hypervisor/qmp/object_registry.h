// ObjectRegistry: user-creatable objects (--object, object-add, object-del): iothreads, throttle
// groups.
//
//   objects.RegisterType("throttle-group", [&](std::string_view id, ArgumentReader& properties)
//       -> absl::StatusOr<std::unique_ptr<UserObject>> { ... });
//
// Ids are unique over all types. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_OBJECT_REGISTRY_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_OBJECT_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"

namespace millrace {

// What a type keeps for one object. Destroyed by object-del and at the end.
class UserObject {
 public:
  virtual ~UserObject() = default;
  // Who uses it: "object 'x' is in use, can not be deleted".
  virtual std::vector<ConflictHolder> users() const { return {}; }
};

// Makes an object from its properties; "qom-type" and "id" have been read. Reads all properties;
// the registry calls Finish() before it believes the result. Does not suspend.
using UserObjectFactory = std::function<absl::StatusOr<std::unique_ptr<UserObject>>(
    std::string_view id, ArgumentReader& properties)>;

class ObjectRegistry {
 public:
  // A type can be registered once (checked).
  void RegisterType(std::string_view type, UserObjectFactory factory);

  // What Add() and Delete() would refuse; nothing is added or deleted.
  absl::Status CheckAdd(const json::object& options, ScalarStyle style) const;
  absl::Status CheckDelete(std::string_view id) const;

  // object-add, or --object with `style` kText.
  absl::Status Add(const json::object& options, ScalarStyle style);
  // object-del: "object 'x' not found".
  absl::Status Delete(std::string_view id);

  // Null if there is no object of this id and type.
  UserObject* Find(std::string_view type, std::string_view id) const;
  // Names of types, and ids of objects of one type, in order of the alphabet.
  std::vector<std::string> Types() const;
  std::vector<std::string> IdsOf(std::string_view type) const;

  // At the end of the program, in reverse order of creation, in use or not.
  void Clear();

 private:
  struct Entry {
    std::string type;
    uint64_t sequence = 0;
    std::unique_ptr<UserObject> object;
  };
  // An object that is not in the registry yet.
  struct Made {
    std::string id;
    std::string type;
    std::unique_ptr<UserObject> object;
  };
  absl::StatusOr<Made> Make(const json::object& options, ScalarStyle style) const;

  std::map<std::string, UserObjectFactory, std::less<>> types_;
  std::map<std::string, Entry, std::less<>> objects_;
  uint64_t next_sequence_ = 0;
};

// Letters, digits, '-', '.', '_', starting with a letter.
bool IsIdentifier(std::string_view text);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_OBJECT_REGISTRY_H_
