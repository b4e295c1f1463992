// Loading TLS credentials: the one function that knows whether GnuTLS was there at build time.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_BACKEND_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "examples/hypervisor/nbd/tls.h"

namespace millrace {

struct TlsSettings {
  enum class Kind : uint8_t { kX509, kPsk, kAnonymous };
  Kind kind = Kind::kX509;
  // Where the files are, by QEMU's names: ca-cert.pem, server-cert.pem, server-key.pem, ca-crl.pem;
  // keys.psk.
  std::string folder;
  bool is_server = false;
  bool verifies_peer = true;  // clients need a certificate of the CA
  std::string priority;       // GnuTLS's priority string; "": its default
  std::string password;       // of the key's file; "": it has none
};

// "Unable to access credentials PATH: No such file or directory", and others in QEMU's words.
absl::StatusOr<std::shared_ptr<const NbdTlsCredentials>> LoadTlsCredentials(
    const TlsSettings& settings);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_TLS_BACKEND_H_
