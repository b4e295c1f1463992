// In place of tls_gnutls.cc, where GnuTLS is not there at build time.
#include "examples/hypervisor/nbd/tls_backend.h"
#include "examples/hypervisor/qmp/qmp_error.h"

namespace millrace {

absl::StatusOr<std::shared_ptr<const NbdTlsCredentials>> LoadTlsCredentials(const TlsSettings&) {
  return GenericError("TLS credentials support requires GNUTLS: build with libgnutls28-dev");
}

}  // namespace millrace
