// Objects of type "secret" (--object secret, object-add): bytes that clients hand over before they
// use them, in plain text or in base64, by themselves or in a file.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SECRET_OBJECT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SECRET_OBJECT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/object_registry.h"

namespace millrace {

void RegisterSecretType(ObjectRegistry& objects);

// The bytes of a secret: "No secret with id 'x'".
absl::StatusOr<std::string> FindSecret(const ObjectRegistry& objects, std::string_view id);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SECRET_OBJECT_H_
