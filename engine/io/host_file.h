// Files of the host: opening, describing and mapping them, in blocking form, for helper threads.
// Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_HOST_FILE_H_
#define MILLRACE_ENGINE_IO_HOST_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/io/io_backend.h"

namespace millrace {

// Opens a regular file or a block device; anything else (a pipe, say, on which an open could wait
// for ever) is FailedPrecondition. Errors as IoBackend::CoOpen.
absl::StatusOr<IoFile> OpenHostFile(const std::string& path, const OpenOptions& options);
// The same, described as StatHostFile does.
absl::StatusOr<OpenedIoFile> OpenAndStatHostFile(const std::string& path,
                                                 const OpenOptions& options);
// FailedPrecondition unless `descriptor` is a regular file or a block device.
absl::Status CheckHostFile(int descriptor);
absl::StatusOr<FileInfo> StatHostFile(int descriptor);
absl::StatusOr<FileExtent> FindHostExtent(int descriptor, uint64_t offset);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_HOST_FILE_H_
