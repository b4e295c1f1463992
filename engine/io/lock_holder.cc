#include "millrace/engine/io/lock_holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr int kDescriptorsLookedAtMax = 8192;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Reads the start of a small file of /proc; always terminated.
using SmallText = std::array<char, 4096>;
size_t ReadSmall(const std::string& path, SmallText& text) {
  text[0] = 0;
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  const ssize_t count = read(descriptor, text.data(), text.size() - 1);
  close(descriptor);
  const size_t bytes = count > 0 ? static_cast<size_t>(count) : 0;
  text[bytes] = 0;
  return bytes;
}

bool IsNumber(const char* name) { return name[0] >= '0' && name[0] <= '9'; }

struct WantedLock {
  unsigned int major_number = 0;
  unsigned int minor_number = 0;
  uint64_t inode = 0;
  uint64_t byte = 0;
};

// A line of fdinfo: "lock:	1: OFDLCK  ADVISORY  READ -1 fd:00:1234 201 201".
bool IsLockLine(const char* line, const WantedLock& wanted) {
  unsigned int major_number = 0;
  unsigned int minor_number = 0;
  unsigned long long inode = 0;
  unsigned long long first = 0;
  char last[32] = {};
  if (sscanf(line, "lock: %*s %*s %*s %*s %*s %x:%x:%llu %llu %31s", &major_number, &minor_number,
             &inode, &first, last) != 5) {
    return false;
  }
  const uint64_t end =
      std::strcmp(last, "EOF") == 0 ? UINT64_MAX : std::strtoull(last, nullptr, 10);
  return major_number == wanted.major_number && minor_number == wanted.minor_number &&
         inode == wanted.inode && first <= wanted.byte && wanted.byte <= end;
}

bool HoldsLock(const std::string& fdinfo_path, const WantedLock& wanted) {
  SmallText text;
  if (ReadSmall(fdinfo_path, text) == 0) return false;
  const char* line = text.data();
  while ((line = std::strstr(line, "lock:")) != nullptr) {
    if (IsLockLine(line, wanted)) return true;
    line += 5;
  }
  return false;
}

}  // namespace

ConflictHolder ProcessHolder(int pid) {
  SmallText name;
  size_t bytes = ReadSmall(StrCat("/proc/", pid, "/comm"), name);
  if (bytes > 0 && name[bytes - 1] == '\n') --bytes;
  ConflictHolder holder;
  holder.id = StrCat(pid);
  holder.type = pid == getpid() ? "this process" : "process";
  holder.as = std::string(name.data(), bytes);
  return holder;
}

std::optional<ConflictHolder> FindLockHolder(int descriptor, uint64_t byte) {
  struct stat file;
  if (fstat(descriptor, &file) != 0) return std::nullopt;
  const WantedLock wanted = {major(file.st_dev), minor(file.st_dev), file.st_ino, byte};
  const Directory processes(opendir("/proc"));
  int looked_at = 0;
  for (dirent* process; processes && (process = readdir(processes.get())) != nullptr;) {
    if (!IsNumber(process->d_name)) continue;
    const std::string folder = StrCat("/proc/", process->d_name, "/fdinfo");
    const int pid = std::atoi(process->d_name);
    const Directory descriptors(opendir(folder.c_str()));
    for (dirent* each; descriptors && (each = readdir(descriptors.get())) != nullptr;) {
      if (!IsNumber(each->d_name)) continue;
      if (pid == getpid() && std::atoi(each->d_name) == descriptor) continue;
      if (++looked_at > kDescriptorsLookedAtMax) return std::nullopt;
      if (HoldsLock(StrCat(folder, "/", each->d_name), wanted)) return ProcessHolder(pid);
    }
  }
  return std::nullopt;
}

}  // namespace millrace
