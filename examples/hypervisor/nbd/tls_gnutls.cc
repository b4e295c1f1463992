// TLS by GnuTLS, never waiting: its callbacks move bytes through the plain stream and say EAGAIN.
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "examples/hypervisor/nbd/tls_backend.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// One record: what goes into it at most.
constexpr size_t kRecordBytes = 16 << 10;

absl::Status GnuTlsError(std::string_view what, int error) {
  return GenericError(StrCat(what, ": ", gnutls_strerror(error)));
}

class Credentials final : public NbdTlsCredentials,
                          public std::enable_shared_from_this<Credentials> {
 public:
  explicit Credentials(TlsSettings settings) : settings_(std::move(settings)) {}
  ~Credentials() override {
    if (certificates_ != nullptr) gnutls_certificate_free_credentials(certificates_);
    if (keys_ != nullptr) gnutls_psk_free_server_credentials(keys_);
    if (anonymous_ != nullptr) gnutls_anon_free_server_credentials(anonymous_);
  }
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  absl::Status Load() {
    switch (settings_.kind) {
      case TlsSettings::Kind::kX509:
        return LoadCertificates();
      case TlsSettings::Kind::kPsk:
        return LoadKeys();
      case TlsSettings::Kind::kAnonymous:
        gnutls_anon_allocate_server_credentials(&anonymous_);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  bool is_for_server() const override { return settings_.is_server; }
  bool checks_certificates() const {
    return settings_.kind == TlsSettings::Kind::kX509 && settings_.verifies_peer;
  }
  absl::StatusOr<std::unique_ptr<NbdStream>> Wrap(std::unique_ptr<NbdStream> plain,
                                                  NbdAuthorizer authorizer) const override;
  absl::Status Prepare(gnutls_session_t session) const;

 private:
  absl::StatusOr<std::string> PathOf(std::string_view name, bool is_required) const {
    if (settings_.folder.empty()) {
      return GenericError("Missing 'dir' property value");
    }
    std::string path = StrCat(settings_.folder, "/", name);
    if (access(path.c_str(), R_OK) == 0) return path;
    if (errno == ENOENT && !is_required) return std::string();
    return GenericError(StrCat("Unable to access credentials ", path, ": ", std::strerror(errno)));
  }
  absl::Status LoadCertificates();
  absl::Status LoadKeys();

  const TlsSettings settings_;
  gnutls_certificate_credentials_t certificates_ = nullptr;
  gnutls_psk_server_credentials_t keys_ = nullptr;
  gnutls_anon_server_credentials_t anonymous_ = nullptr;
};

absl::Status Credentials::LoadCertificates() {
  MILLRACE_ASSIGN_OR_RETURN(const std::string ca, PathOf("ca-cert.pem", true));
  MILLRACE_ASSIGN_OR_RETURN(const std::string revoked, PathOf("ca-crl.pem", false));
  const std::string_view side = settings_.is_server ? "server" : "client";
  MILLRACE_ASSIGN_OR_RETURN(const std::string certificate,
                            PathOf(StrCat(side, "-cert.pem"), settings_.is_server));
  MILLRACE_ASSIGN_OR_RETURN(const std::string key,
                            PathOf(StrCat(side, "-key.pem"), settings_.is_server));
  gnutls_certificate_allocate_credentials(&certificates_);
  int result =
      gnutls_certificate_set_x509_trust_file(certificates_, ca.c_str(), GNUTLS_X509_FMT_PEM);
  if (result < 0) return GnuTlsError(StrCat("Cannot load CA certificate '", ca, "'"), result);
  if (!certificate.empty() && !key.empty()) {
    const char* const password = settings_.password.empty() ? nullptr : settings_.password.c_str();
    result = gnutls_certificate_set_x509_key_file2(certificates_, certificate.c_str(), key.c_str(),
                                                   GNUTLS_X509_FMT_PEM, password, 0);
    if (result < 0) {
      return GnuTlsError(StrCat("Cannot load certificate '", certificate, "' & key '", key, "'"),
                         result);
    }
  }
  if (!revoked.empty()) {
    result =
        gnutls_certificate_set_x509_crl_file(certificates_, revoked.c_str(), GNUTLS_X509_FMT_PEM);
    if (result < 0) return GnuTlsError(StrCat("Cannot load CRL '", revoked, "'"), result);
  }
  return absl::OkStatus();
}

absl::Status Credentials::LoadKeys() {
  if (!settings_.is_server) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const std::string path, PathOf("keys.psk", true));
  gnutls_psk_allocate_server_credentials(&keys_);
  const int result = gnutls_psk_set_server_credentials_file(keys_, path.c_str());
  if (result < 0)
    return GnuTlsError(StrCat("Cannot load PSK server credentials '", path, "'"), result);
  return absl::OkStatus();
}

absl::Status Credentials::Prepare(gnutls_session_t session) const {
  std::string priority = settings_.priority.empty() ? "NORMAL" : settings_.priority;
  int result = 0;
  switch (settings_.kind) {
    case TlsSettings::Kind::kX509:
      result = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, certificates_);
      gnutls_certificate_server_set_request(
          session, settings_.verifies_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
      break;
    case TlsSettings::Kind::kPsk:
      result = gnutls_credentials_set(session, GNUTLS_CRD_PSK, keys_);
      priority += ":+ECDHE-PSK:+DHE-PSK:+PSK";
      break;
    case TlsSettings::Kind::kAnonymous:
      result = gnutls_credentials_set(session, GNUTLS_CRD_ANON, anonymous_);
      priority += ":+ANON-ECDH:+ANON-DH";
      break;
  }
  if (result < 0) return GnuTlsError("Failed to set session credentials", result);
  result = gnutls_priority_set_direct(session, priority.c_str(), nullptr);
  if (result < 0) return GnuTlsError("Unable to set TLS session priority", result);
  return absl::OkStatus();
}

class TlsStream final : public NbdStream {
 public:
  TlsStream(std::shared_ptr<const Credentials> credentials, std::unique_ptr<NbdStream> plain,
            NbdAuthorizer authorizer)
      : credentials_(std::move(credentials)),
        plain_(std::move(plain)),
        authorizer_(std::move(authorizer)) {}
  ~TlsStream() override {
    if (session_ != nullptr) gnutls_deinit(session_);
  }
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  absl::Status Begin() {
    const int result = gnutls_init(&session_, GNUTLS_SERVER | GNUTLS_NONBLOCK);
    if (result < 0) return GnuTlsError("Failed to create TLS session", result);
    MILLRACE_RETURN_IF_ERROR(credentials_->Prepare(session_));
    gnutls_transport_set_ptr(session_, this);
    gnutls_transport_set_pull_function(session_, &Pull);
    gnutls_transport_set_push_function(session_, &Push);
    return absl::OkStatus();
  }

  ssize_t Read(absl::Span<const iovec> pieces) override;
  ssize_t Write(absl::Span<const iovec> pieces) override;
  void Shutdown() override { plain_->Shutdown(); }
  bool wants_write() const override { return handshake_wants_write_; }
  bool has_buffered() const override {
    return is_open_ && gnutls_record_check_pending(session_) > 0;
  }

 private:
  // As gnutls wants them: errno is set by gnutls_transport_set_errno().
  static ssize_t Pull(gnutls_transport_ptr_t self, void* data, size_t bytes) {
    const iovec piece = {data, bytes};
    return static_cast<TlsStream*>(self)->Told(
        static_cast<TlsStream*>(self)->plain_->Read({&piece, 1}));
  }
  static ssize_t Push(gnutls_transport_ptr_t self, const void* data, size_t bytes) {
    const iovec piece = {const_cast<void*>(data), bytes};
    return static_cast<TlsStream*>(self)->Told(
        static_cast<TlsStream*>(self)->plain_->Write({&piece, 1}));
  }
  ssize_t Told(ssize_t outcome) {
    if (outcome >= 0) return outcome;
    gnutls_transport_set_errno(session_, static_cast<int>(-outcome));
    return -1;
  }
  // 0, -EAGAIN or another -errno.
  int Handshake();
  bool IsLetIn() const;
  static ssize_t Outcome(ssize_t result) {
    if (result >= 0) return result;
    const bool is_later = result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED;
    // A client that ends without saying so has ended all the same.
    if (result == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    return is_later ? -EAGAIN : -EPROTO;
  }

  const std::shared_ptr<const Credentials> credentials_;
  const std::unique_ptr<NbdStream> plain_;
  const NbdAuthorizer authorizer_;
  gnutls_session_t session_ = nullptr;
  bool is_open_ = false;
  bool handshake_wants_write_ = false;
  bool has_unsent_record_ = false;  // gnutls holds a record that did not go out whole
  std::array<char, kRecordBytes> record_;
};

absl::StatusOr<std::unique_ptr<NbdStream>> Credentials::Wrap(std::unique_ptr<NbdStream> plain,
                                                             NbdAuthorizer authorizer) const {
  auto stream =
      std::make_unique<TlsStream>(shared_from_this(), std::move(plain), std::move(authorizer));
  MILLRACE_RETURN_IF_ERROR(stream->Begin());
  return stream;
}

int TlsStream::Handshake() {
  const int result = gnutls_handshake(session_);
  const bool is_later = result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED ||
                        (result < 0 && gnutls_error_is_fatal(result) == 0);
  handshake_wants_write_ = is_later && gnutls_record_get_direction(session_) == 1;
  if (is_later) return -EAGAIN;
  if (result < 0) return -EPROTO;
  if (!IsLetIn()) return -EACCES;
  is_open_ = true;
  return 0;
}

bool TlsStream::IsLetIn() const {
  if (credentials_->checks_certificates()) {
    unsigned status = 0;
    if (gnutls_certificate_verify_peers2(session_, &status) < 0 || status != 0) return false;
  }
  if (!authorizer_) return true;
  unsigned count = 0;
  const gnutls_datum_t* const certificates = gnutls_certificate_get_peers(session_, &count);
  if (certificates == nullptr || count == 0) return false;
  gnutls_x509_crt_t certificate = nullptr;
  if (gnutls_x509_crt_init(&certificate) < 0) return false;
  std::array<char, 1024> name;
  size_t name_bytes = name.size();
  const bool is_known =
      gnutls_x509_crt_import(certificate, &certificates[0], GNUTLS_X509_FMT_DER) >= 0 &&
      gnutls_x509_crt_get_dn(certificate, name.data(), &name_bytes) >= 0;
  gnutls_x509_crt_deinit(certificate);
  return is_known && authorizer_(std::string(name.data(), name_bytes));
}

ssize_t TlsStream::Read(absl::Span<const iovec> pieces) {
  if (!is_open_) {
    if (const int result = Handshake(); result < 0) return result;
  }
  // One record at most comes at a time: what does not fit into the first piece stays with gnutls.
  return Outcome(gnutls_record_recv(session_, pieces[0].iov_base, pieces[0].iov_len));
}

ssize_t TlsStream::Write(absl::Span<const iovec> pieces) {
  if (!is_open_) return -EAGAIN;
  ssize_t result = 0;
  if (has_unsent_record_) {
    result = gnutls_record_send(session_, nullptr, 0);
  } else {
    size_t bytes = 0;
    for (const iovec& piece : pieces) {
      const size_t part = std::min(piece.iov_len, record_.size() - bytes);
      std::memcpy(record_.data() + bytes, piece.iov_base, part);
      bytes += part;
    }
    result = gnutls_record_send(session_, record_.data(), bytes);
  }
  result = Outcome(result);
  has_unsent_record_ = result == -EAGAIN;
  return result;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const NbdTlsCredentials>> LoadTlsCredentials(
    const TlsSettings& settings) {
  auto credentials = std::make_shared<Credentials>(settings);
  MILLRACE_RETURN_IF_ERROR(credentials->Load());
  return credentials;
}

}  // namespace millrace
