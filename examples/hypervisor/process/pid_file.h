// PidFile: the process id in a locked file that goes with the process.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PID_FILE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PID_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace millrace {

class PidFile {
 public:
  // Refused while another process holds the file: "cannot create PID file: ...".
  static absl::StatusOr<std::unique_ptr<PidFile>> Create(const std::string& path);
  // Removes the file.
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

 private:
  PidFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;  // absolute: a daemon changes its folder
  const int fd_;            // holds the lock
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PID_FILE_H_
