#include "examples/hypervisor/qmp/object_registry.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// Types of QEMU 7.2 that are not to be had here: they are known by name, but not as types.
bool IsForeignType(std::string_view type) {
  constexpr std::string_view kForeign[] = {"authz-list-file",
                                           "authz-pam",
                                           "can-bus",
                                           "can-host-socketcan",
                                           "colo-compare",
                                           "cryptodev-backend",
                                           "cryptodev-backend-builtin",
                                           "cryptodev-backend-lkcf",
                                           "cryptodev-vhost-user",
                                           "dbus-vmstate",
                                           "filter-buffer",
                                           "filter-dump",
                                           "filter-mirror",
                                           "filter-redirector",
                                           "filter-replay",
                                           "filter-rewriter",
                                           "input-barrier",
                                           "input-linux",
                                           "main-loop",
                                           "memory-backend-epc",
                                           "memory-backend-file",
                                           "memory-backend-memfd",
                                           "memory-backend-ram",
                                           "pr-manager-helper",
                                           "qtest",
                                           "rng-builtin",
                                           "rng-egd",
                                           "rng-random",
                                           "secret_keyring",
                                           "sev-guest",
                                           "thread-context",
                                           "tls-cipher-suites",
                                           "x-remote-object",
                                           "x-vfio-user-server"};
  return std::find(std::begin(kForeign), std::end(kForeign), type) != std::end(kForeign);
}

}  // namespace

bool IsIdentifier(std::string_view text) {
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

void ObjectRegistry::RegisterType(std::string_view type, UserObjectFactory factory) {
  const bool is_new = types_.emplace(type, std::move(factory)).second;
  MILLRACE_CHECK(is_new, "a type is registered once");
}

absl::StatusOr<ObjectRegistry::Made> ObjectRegistry::Make(const json::object& options,
                                                          ScalarStyle style) const {
  ArgumentReader reader(options, style);
  const std::string type = reader.String("qom-type");
  const auto factory = types_.find(type);
  if (factory == types_.end() && IsForeignType(type)) {
    reader.Fail(GenericError(StrCat("invalid object type: ", type)));
  } else if (factory == types_.end()) {
    reader.Fail(GenericError(StrCat("Parameter 'qom-type' does not accept value '", type, "'")));
  }
  const std::string id = reader.String("id");
  if (!reader.ok()) return reader.Finish();
  absl::StatusOr<std::unique_ptr<UserObject>> object = factory->second(id, reader);
  // A misspelt property is heard of before what the object itself has to say.
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!IsIdentifier(id)) return GenericError("Parameter 'id' expects an identifier");
  if (objects_.contains(id)) {
    return GenericError(
        StrCat("attempt to add duplicate property '", id, "' to object (type 'container')"),
        DescribeRefusal({.reason = "duplicate-id",
                         .object = id,
                         .next_step = "choose another id, or delete that object first",
                         .holders = {{.id = id, .type = objects_.find(id)->second.type}}}));
  }
  MILLRACE_RETURN_IF_ERROR(object.status());
  return Made{id, type, *std::move(object)};
}

absl::Status ObjectRegistry::CheckAdd(const json::object& options, ScalarStyle style) const {
  return Make(options, style).status();
}

absl::Status ObjectRegistry::Add(const json::object& options, ScalarStyle style) {
  MILLRACE_ASSIGN_OR_RETURN(Made made, Make(options, style));
  objects_.emplace(made.id, Entry{made.type, next_sequence_++, std::move(made.object)});
  return absl::OkStatus();
}

absl::Status ObjectRegistry::CheckDelete(std::string_view id) const {
  const auto found = objects_.find(id);
  if (found == objects_.end()) {
    return GenericError(StrCat("object '", id, "' not found"),
                        DescribeRefusal({.reason = "unknown-object",
                                         .object = id,
                                         .next_step = "name one that was added by object-add"}));
  }
  std::vector<ConflictHolder> users = found->second.object->users();
  if (users.empty()) return absl::OkStatus();
  return GenericError(StrCat("object '", id, "' is in use, can not be deleted"),
                      DescribeRefusal({.reason = "in-use",
                                       .object = id,
                                       .next_step = "take away first what uses it",
                                       .holders = std::move(users)}));
}

absl::Status ObjectRegistry::Delete(std::string_view id) {
  MILLRACE_RETURN_IF_ERROR(CheckDelete(id));
  objects_.erase(objects_.find(id));
  return absl::OkStatus();
}

UserObject* ObjectRegistry::Find(std::string_view type, std::string_view id) const {
  const auto found = objects_.find(id);
  return found == objects_.end() || found->second.type != type ? nullptr
                                                               : found->second.object.get();
}

std::vector<std::string> ObjectRegistry::Types() const {
  std::vector<std::string> types;
  for (const auto& entry : types_) types.push_back(entry.first);
  return types;
}

std::vector<std::string> ObjectRegistry::IdsOf(std::string_view type) const {
  std::vector<std::string> ids;
  for (const auto& entry : objects_) {
    if (entry.second.type == type) ids.push_back(entry.first);
  }
  return ids;
}

void ObjectRegistry::Clear() {
  while (!objects_.empty()) {
    objects_.erase(std::max_element(objects_.begin(), objects_.end(), [](auto& a, auto& b) {
      return a.second.sequence < b.second.sequence;
    }));
  }
}

}  // namespace millrace
