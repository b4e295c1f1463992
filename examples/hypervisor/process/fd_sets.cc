#include "examples/hypervisor/process/fd_sets.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kPrefix = "/dev/fdset/";

}  // namespace

FdSets::~FdSets() {
  for (const auto& entry : sets_) {
    for (const Member& member : entry.second) close(member.fd);
  }
}

absl::Status FdSets::AddFromOption(std::string_view text) {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseLegacyOptions(text, ""));
  ArgumentReader reader = value.Reader();
  const std::optional<int64_t> fd = reader.OptionalInteger("fd");
  const std::optional<int64_t> set = reader.OptionalInteger("set");
  std::optional<std::string> opaque = reader.OptionalString("opaque");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!fd.has_value() || *fd < 0 || *fd > std::numeric_limits<int>::max()) {
    return GenericError("fd option is required and must be non-negative");
  }
  if (*fd <= STDERR_FILENO) return GenericError("fd cannot be a standard I/O stream");
  if (!set.has_value() || *set < 0) {
    return GenericError("set option is required and must be non-negative");
  }
  // Kept apart from the given descriptor, so that it may be named in several options.
  const int copy = fcntl(static_cast<int>(*fd), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return GenericError(StrCat("error duplicating fd: ", std::strerror(errno)));
  given_[static_cast<int>(*fd)] = copy;
  sets_[*set].push_back({copy, std::move(opaque)});
  return absl::OkStatus();
}

namespace {

bool IsSameFile(int one, int other) {
  struct stat first {};
  struct stat second {};
  return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

void FdSets::CloseGiven() {
  // Another option may have named it too, and closed it; its number means something else then.
  for (const auto& [fd, copy] : given_) {
    if (IsSameFile(fd, copy)) close(fd);
  }
  given_.clear();
}

absl::Status FdSets::CheckOffered() const {
  return offered_.is_valid() ? absl::OkStatus()
                             : GenericError("No file descriptor supplied via SCM_RIGHTS");
}

absl::StatusOr<int> FdSets::TakeOffered() {
  MILLRACE_RETURN_IF_ERROR(CheckOffered());
  return offered_.Take();
}

int64_t FdSets::NumberFor(std::optional<int64_t> set) const {
  int64_t number = set.value_or(0);
  while (!set.has_value() && sets_.count(number) > 0) ++number;
  return number;
}

int64_t FdSets::Add(int fd, std::optional<int64_t> set, std::string opaque) {
  const int64_t number = NumberFor(set);
  Member member{fd, std::nullopt};
  if (!opaque.empty()) member.opaque = std::move(opaque);
  sets_[number].push_back(std::move(member));
  return number;
}

absl::Status FdSets::CheckRemove(int64_t set, std::optional<int64_t> fd) const {
  const auto found = sets_.find(set);
  if (found != sets_.end()) {
    for (const Member& member : found->second) {
      if (!fd.has_value() || member.fd == *fd) return absl::OkStatus();
    }
  }
  return GenericError(StrCat("File descriptor named 'fdset-id:", set,
                             fd.has_value() ? StrCat(", fd:", *fd) : "", "' not found"));
}

absl::Status FdSets::Remove(int64_t set, std::optional<int64_t> fd) {
  MILLRACE_RETURN_IF_ERROR(CheckRemove(set, fd));
  const auto found = sets_.find(set);
  std::erase_if(found->second, [&](const Member& member) {
    if (fd.has_value() && member.fd != *fd) return false;
    close(member.fd);
    return true;
  });
  if (found->second.empty()) sets_.erase(found);
  return absl::OkStatus();
}

std::map<int64_t, std::vector<FdSets::Described>> FdSets::Describe() const {
  std::map<int64_t, std::vector<Described>> described;
  for (const auto& [number, members] : sets_) {
    for (const Member& member : members) described[number].push_back({member.fd, member.opaque});
  }
  return described;
}

std::optional<int64_t> FdSets::SetNumber(std::string_view path) {
  if (!path.starts_with(kPrefix)) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  if (path.empty() || path.size() > 18) return std::nullopt;
  int64_t number = 0;
  for (const char c : path) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  return number;
}

absl::StatusOr<int> FdSets::Open(int64_t set, bool is_writable) const {
  const auto refuse = [&](int error) {
    return GenericError(StrCat("Could not dup FD for ", kPrefix, set, " flags ",
                               is_writable ? O_RDWR : O_RDONLY, ": ", std::strerror(error)));
  };
  const auto found = sets_.find(set);
  if (found == sets_.end()) return refuse(ENOENT);
  int chosen = -1;
  for (const Member& member : found->second) {
    const int mode = fcntl(member.fd, F_GETFL) & O_ACCMODE;
    if (mode == (is_writable ? O_RDWR : O_RDONLY)) {
      chosen = member.fd;
      break;
    }
    if (!is_writable && mode == O_RDWR && chosen < 0) chosen = member.fd;
  }
  if (chosen < 0) return refuse(EACCES);
  const int copy = fcntl(chosen, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return refuse(errno);
  return copy;
}

absl::Status FdSets::CheckCloseNamed(const std::string& name) const {
  if (named_.count(name) > 0) return absl::OkStatus();
  return GenericError(StrCat("File descriptor named '", name, "' not found"));
}

absl::Status FdSets::CloseNamed(const std::string& name) {
  MILLRACE_RETURN_IF_ERROR(CheckCloseNamed(name));
  named_.erase(name);
  return absl::OkStatus();
}

absl::StatusOr<PassedDescriptor> FdSets::TakeNamed(const std::string& name) {
  const auto found = named_.find(name);
  if (found == named_.end()) {
    return GenericError(StrCat("File descriptor named '", name, "' has not been found"));
  }
  PassedDescriptor fd = std::move(found->second);
  named_.erase(found);
  return fd;
}

}  // namespace millrace
