#include "millrace/graph/io/open_gate.h"

#include <algorithm>
#include <filesystem>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kImageNameBytesMax = 1023;  // as in a qcow2 header

std::string Attempt(std::string_view holder, std::string_view name) {
  return StrCat("open backing file '", PrintableName(name), "' of '", PrintableName(holder), "': ");
}

// `why` ends the attempt's text.
absl::Status Refuse(absl::StatusCode code, ConflictReason reason, std::string_view holder,
                    std::string_view name, std::string_view why, std::string_view next_step) {
  return RefusalStatus(code,
                       {.reason = reason,
                        .object = PrintableName(name),
                        .next_step = std::string(next_step),
                        .detail = PrintableName(holder)},
                       StrCat(Attempt(holder, name), why));
}

absl::Status CheckName(std::string_view holder, std::string_view name) {
  std::string why;
  if (name.empty()) why = "the name is empty";
  if (name.size() > kImageNameBytesMax) {
    why = StrCat("the name has ", name.size(), " bytes; at most ", kImageNameBytesMax,
                 " are allowed");
  }
  if (name.find('\0') != std::string_view::npos) why = "the name contains a NUL byte";
  if (why.empty()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument, ConflictReason::kForbiddenName, holder, name,
                why, "correct the backing file name in the image");
}

constexpr std::string_view kFilePrefix = "file:";

bool IsFileName(std::string_view name) {
  return name.size() > kFilePrefix.size() && name.substr(0, kFilePrefix.size()) == kFilePrefix;
}

// Whether the policy takes the name as it is, protocol and all.
bool LetsThrough(const OpenGatePolicy& policy, std::string_view name) {
  return policy.like_qemu && policy.open_root.empty() && NamesProtocol(name) && !IsFileName(name);
}

// The path that the name means, not yet resolved.
absl::StatusOr<std::string_view> PlainPath(const OpenGatePolicy& policy, std::string_view holder,
                                           std::string_view name) {
  if (!NamesProtocol(name)) return name;
  if (policy.like_qemu && IsFileName(name)) return name.substr(kFilePrefix.size());
  return Refuse(absl::StatusCode::kPermissionDenied, ConflictReason::kForbiddenName, holder, name,
                "a name in an image must be a plain path, not a protocol or json:",
                "open that image yourself and attach it, or write './' in front if it is a file of "
                "that name");
}

absl::StatusOr<std::string> ResolvePath(std::string_view holder, std::string_view path) {
  if (path.front() == '/') return std::string(path);
  if (holder.empty()) {
    return Refuse(absl::StatusCode::kFailedPrecondition, ConflictReason::kForbiddenName, holder,
                  path, "a relative name, and the image that has it lies in no folder",
                  "name the backing file when opening the image");
  }
  const size_t slash = holder.rfind('/');
  if (slash == std::string_view::npos) return std::string(path);
  return StrCat(holder.substr(0, slash + 1), path);
}

absl::Status CheckConfined(const OpenGatePolicy& policy, std::string_view holder,
                           std::string_view name, std::string_view path) {
  if (policy.open_root.empty() || LiesBelow(path, policy.open_root)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kPermissionDenied, ConflictReason::kForbiddenName, holder, name,
                StrCat("only files below '", policy.open_root, "' may be opened"),
                "move the image there, or widen the open root");
}

}  // namespace

bool NamesProtocol(std::string_view filename) {
  const size_t end = filename.find_first_of(":/");
  return end != std::string_view::npos && filename[end] == ':';
}

bool LiesBelow(std::string_view path, std::string_view root) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  const std::filesystem::path top = std::filesystem::path(root).lexically_normal();
  if (!normal.is_absolute()) return false;
  const auto [in_top, in_path] =
      std::mismatch(top.begin(), top.end(), normal.begin(), normal.end());
  // "/images/" ends with an empty element, which matches anything below.
  const bool whole_top = in_top == top.end() || (in_top->empty() && std::next(in_top) == top.end());
  return whole_top && in_path != normal.end() && !in_path->empty();
}

absl::StatusOr<GatedImage> ResolveBackingReference(const OpenGatePolicy& policy,
                                                   std::string_view holder,
                                                   const BackingReference& reference) {
  const std::string_view name = reference.filename;
  MILLRACE_RETURN_IF_ERROR(CheckName(holder, name));
  GatedImage image;
  if (LetsThrough(policy, name)) {
    image.path = std::string(name);
    image.names_protocol = true;
    image.format = reference.format;
    return image;
  }
  MILLRACE_ASSIGN_OR_RETURN(const std::string_view plain, PlainPath(policy, holder, name));
  MILLRACE_ASSIGN_OR_RETURN(image.path, ResolvePath(holder, plain));
  MILLRACE_RETURN_IF_ERROR(CheckConfined(policy, holder, name, image.path));
  if (reference.format.empty() && !policy.like_qemu) {
    return Refuse(absl::StatusCode::kFailedPrecondition, ConflictReason::kMissingFormat, holder,
                  name,
                  "the image does not say its format, and guessing it would let a guest choose",
                  "state the format when opening, or write it into the image (qemu-img rebase -u "
                  "-F FORMAT)");
  }
  image.format = reference.format;
  return image;
}

absl::Status ChainGuard::BeforeOpen(std::string_view name) const {
  if (links_.size() < depth_max_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("open '", PrintableName(name), "': the backing chain of '",
             links_.empty() ? std::string() : links_.front().name, "' has more than ", depth_max_,
             " images; merge some, or raise the limit"));
}

absl::Status ChainGuard::AfterOpen(std::string_view name, std::optional<FileIdentity> identity) {
  const auto same = std::find_if(links_.begin(), links_.end(), [&](const Link& link) {
    return identity.has_value() && link.identity == identity;
  });
  if (same != links_.end()) {
    std::string loop;
    for (auto link = same; link != links_.end(); ++link) StrAppend(&loop, link->name, " -> ");
    return absl::FailedPreconditionError(
        StrCat("open '", PrintableName(name), "': its backing chain is a loop: ", loop,
               PrintableName(name), "; correct the backing file in one of them"));
  }
  links_.push_back({PrintableName(name), identity});
  return absl::OkStatus();
}

}  // namespace millrace
