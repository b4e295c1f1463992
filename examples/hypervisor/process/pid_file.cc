#include "examples/hypervisor/process/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::Status Failed(std::string_view what, int error) {
  return absl::InternalError(StrCat("cannot create PID file: ", what, ": ", std::strerror(error)));
}

bool IsSameFile(int fd, const std::string& path) {
  struct stat ours;
  struct stat theirs;
  return fstat(fd, &ours) == 0 && stat(path.c_str(), &theirs) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PidFile>> PidFile::Create(const std::string& path) {
  for (;;) {
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return Failed(StrCat("Could not create '", path, "'"), errno);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd, F_SETLK, &lock) < 0) {
      const int error = errno;
      close(fd);
      return Failed("Cannot lock pid file", error);
    }
    // A process that ended in between has taken the name away from under our lock.
    if (!IsSameFile(fd, path)) {
      close(fd);
      continue;
    }
    const std::string text = StrCat(getpid(), "\n");
    if (ftruncate(fd, 0) < 0 ||
        write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      const int error = errno;
      close(fd);
      return Failed("Failed to write pid file", error);
    }
    std::error_code ignored;
    const std::string absolute = std::filesystem::absolute(path, ignored).string();
    return std::unique_ptr<PidFile>(new PidFile(absolute.empty() ? path : absolute, fd));
  }
}

PidFile::~PidFile() {
  // First the name, then the lock: whoever waits for the lock sees that the name is gone.
  unlink(path_.c_str());
  close(fd_);
}

}  // namespace millrace
