// TLS for NBD clients: what a session's stream is wrapped in after STARTTLS.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "examples/hypervisor/nbd/stream.h"
#include "examples/hypervisor/qmp/object_registry.h"

namespace millrace {

// Whether a client of this name (a certificate's distinguished name) may come in.
using NbdAuthorizer = std::function<bool(const std::string& identity)>;

// Keys and certificates, and what to do with them. Shared by the object of the monitor and by
// servers: taking the object away ends no connection.
class NbdTlsCredentials {
 public:
  virtual ~NbdTlsCredentials() = default;
  virtual bool is_for_server() const = 0;
  // The server's end over `plain`. The TLS handshake happens in its Read() and Write(), which fail
  // if the client is not let in. `authorizer` may be empty: everybody with valid credentials.
  virtual absl::StatusOr<std::unique_ptr<NbdStream>> Wrap(std::unique_ptr<NbdStream> plain,
                                                          NbdAuthorizer authorizer) const = 0;
};

// The object types tls-creds-x509, tls-creds-psk, tls-creds-anon and authz-simple. Built without
// GnuTLS, the credentials are known, and refused.
void RegisterTlsObjects(ObjectRegistry& objects);

// "No TLS credentials with id 'x'", "Object with id 'x' is not TLS credentials", "Expected TLS
// credentials for a server endpoint".
absl::StatusOr<std::shared_ptr<const NbdTlsCredentials>> FindTlsCredentials(
    const ObjectRegistry& objects, const std::string& id);

// Looks the authz object up whenever it is asked; nobody is let in while there is none.
NbdAuthorizer AuthorizerFor(const ObjectRegistry& objects, const std::string& id);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_H_
