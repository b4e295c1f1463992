// The monitor's objects around TLS; what GnuTLS does with them is in tls_gnutls.cc.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/nbd/tls.h"
#include "examples/hypervisor/nbd/tls_backend.h"
#include "examples/hypervisor/process/secret_object.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kEndpoints[] = {"client", "server"};
constexpr std::string_view kCredentialTypes[] = {"tls-creds-x509", "tls-creds-psk",
                                                 "tls-creds-anon"};

struct CredentialsObject final : UserObject {
  explicit CredentialsObject(std::shared_ptr<const NbdTlsCredentials> the_credentials)
      : credentials(std::move(the_credentials)) {}
  // A running server holds it too.
  std::vector<ConflictHolder> users() const override {
    if (credentials.use_count() == 1) return {};
    return {{.type = "NBD server"}};
  }

  const std::shared_ptr<const NbdTlsCredentials> credentials;
};

struct AuthorizationObject final : UserObject {
  explicit AuthorizationObject(std::string the_identity) : identity(std::move(the_identity)) {}
  const std::string identity;
};

absl::StatusOr<std::unique_ptr<UserObject>> MakeCredentials(const ObjectRegistry& objects,
                                                            TlsSettings::Kind kind,
                                                            ArgumentReader& reader) {
  std::optional<std::string> secret;
  TlsSettings settings;
  settings.kind = kind;
  settings.verifies_peer = reader.OptionalBool("verify-peer").value_or(true);
  settings.folder = reader.OptionalString("dir").value_or("");
  const std::optional<size_t> endpoint = reader.OptionalEnum("endpoint", kEndpoints);
  settings.is_server = endpoint.value_or(0) == 1;
  settings.priority = reader.OptionalString("priority").value_or("");
  if (kind == TlsSettings::Kind::kX509) {
    reader.OptionalBool("sanity-check");
    secret = reader.OptionalString("passwordid");
  }
  if (kind == TlsSettings::Kind::kPsk) reader.OptionalString("username");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (secret) {
    MILLRACE_ASSIGN_OR_RETURN(settings.password, FindSecret(objects, *secret));
  }
  MILLRACE_ASSIGN_OR_RETURN(std::shared_ptr<const NbdTlsCredentials> credentials,
                            LoadTlsCredentials(settings));
  return std::make_unique<CredentialsObject>(std::move(credentials));
}

}  // namespace

void RegisterTlsObjects(ObjectRegistry& objects) {
  for (size_t i = 0; i < std::size(kCredentialTypes); ++i) {
    const auto kind = static_cast<TlsSettings::Kind>(i);
    objects.RegisterType(kCredentialTypes[i],
                         [&objects, kind](std::string_view, ArgumentReader& reader) {
                           return MakeCredentials(objects, kind, reader);
                         });
  }
  objects.RegisterType(
      "authz-simple",
      [](std::string_view, ArgumentReader& reader) -> absl::StatusOr<std::unique_ptr<UserObject>> {
        std::string identity = reader.String("identity");
        MILLRACE_RETURN_IF_ERROR(reader.Finish());
        return std::make_unique<AuthorizationObject>(std::move(identity));
      });
}

absl::StatusOr<std::shared_ptr<const NbdTlsCredentials>> FindTlsCredentials(
    const ObjectRegistry& objects, const std::string& id) {
  for (const std::string_view type : kCredentialTypes) {
    if (auto* const found = static_cast<CredentialsObject*>(objects.Find(type, id))) {
      if (found->credentials->is_for_server()) return found->credentials;
      return GenericError("Expected TLS credentials for a server endpoint");
    }
  }
  for (const std::string& type : objects.Types()) {
    if (objects.Find(type, id) == nullptr) continue;
    return GenericError(StrCat("Object with id '", id, "' is not TLS credentials"));
  }
  return GenericError(StrCat("No TLS credentials with id '", id, "'"));
}

NbdAuthorizer AuthorizerFor(const ObjectRegistry& objects, const std::string& id) {
  return [&objects, id](const std::string& identity) {
    const auto* const found =
        static_cast<const AuthorizationObject*>(objects.Find("authz-simple", id));
    return found != nullptr && found->identity == identity;
  };
}

}  // namespace millrace
