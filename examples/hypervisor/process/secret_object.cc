#include "examples/hypervisor/process/secret_object.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kSecretBytesMax = 64 << 10;

class SecretObject final : public UserObject {
 public:
  explicit SecretObject(std::string bytes) : bytes_(std::move(bytes)) {}
  ~SecretObject() override { explicit_bzero(bytes_.data(), bytes_.size()); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

absl::Status CannotRead(const std::string& path, std::string_view what, int error) {
  return GenericError(StrCat("Unable to read ", path, ": Failed to ", what, " file “", path,
                             "”: ", std::strerror(error)));
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return CannotRead(path, "open", errno);
  std::string bytes;
  std::array<char, 4096> piece;
  ssize_t got = 0;
  while ((got = read(fd, piece.data(), piece.size())) > 0 && bytes.size() <= kSecretBytesMax) {
    bytes.append(piece.data(), static_cast<size_t>(got));
  }
  const int error = errno;
  close(fd);
  if (got < 0) return CannotRead(path, "read from", error);
  if (bytes.size() > kSecretBytesMax) {
    return GenericError(StrCat("'", path, "' is no secret: it has more than ", kSecretBytesMax,
                               " bytes; name a smaller file"));
  }
  return bytes;
}

absl::StatusOr<std::string> DecodeBase64(const std::string& text) {
  std::string bytes;
  if (absl::Base64Unescape(text, &bytes)) return bytes;
  return GenericError("Base64 data contains invalid characters");
}

absl::StatusOr<std::unique_ptr<UserObject>> MakeSecret(ArgumentReader& properties) {
  constexpr std::string_view kFormats[] = {"raw", "base64"};
  const std::optional<std::string> data = properties.OptionalString("data");
  const std::optional<std::string> file = properties.OptionalString("file");
  const size_t format = properties.OptionalEnum("format", kFormats).value_or(0);
  const std::optional<std::string> key = properties.OptionalString("keyid");
  properties.OptionalString("iv");
  MILLRACE_RETURN_IF_ERROR(properties.Finish());
  if (data && file) return GenericError("'file' and 'data' are mutually exclusive");
  if (!data && !file) return GenericError("Either 'file' or 'data' must be provided");
  if (key) {
    return GenericError(
        "millraced reads no encrypted secrets: leave 'keyid' away and keep the "
        "secret in a file that only it can read");
  }
  std::string bytes = data.value_or("");
  if (file) {
    MILLRACE_ASSIGN_OR_RETURN(bytes, ReadWhole(*file));
  }
  if (format == 1) {
    MILLRACE_ASSIGN_OR_RETURN(bytes, DecodeBase64(bytes));
  }
  return std::make_unique<SecretObject>(std::move(bytes));
}

}  // namespace

void RegisterSecretType(ObjectRegistry& objects) {
  objects.RegisterType("secret", [](std::string_view, ArgumentReader& properties) {
    return MakeSecret(properties);
  });
}

absl::StatusOr<std::string> FindSecret(const ObjectRegistry& objects, std::string_view id) {
  const auto* const found = static_cast<const SecretObject*>(objects.Find("secret", id));
  if (found == nullptr) return GenericError(StrCat("No secret with id '", id, "'"));
  return found->bytes();
}

}  // namespace millrace
