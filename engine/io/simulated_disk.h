// SimulatedDisk: the files of a simulated machine. It outlives the engines that use it, so that a
// test can stop one engine, or crash it, and start another on what is left.
//
//   SimulatedDisk disk;
//   disk.Put("base.img", std::string(65536, 'b'));
//   auto engine = Engine::Create({.simulated = true, .decider = &decider, .disk = &disk});
//
// Files are known by path; folders do not exist. Making a file is durable at once. Host code of one
// thread; nothing here suspends.
#ifndef MILLRACE_ENGINE_IO_SIMULATED_DISK_H_
#define MILLRACE_ENGINE_IO_SIMULATED_DISK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/engine/io/simulated_file.h"

namespace millrace {

class SimulatedDisk {
 public:
  struct Options {
    uint32_t io_alignment = 512;           // of offsets and lengths in direct I/O; enforced
    uint64_t capacity_bytes = UINT64_MAX;  // of all files together; beyond it requests get ENOSPC
    bool can_discard = true;               // else EOPNOTSUPP
    bool can_copy_range = true;            // else EOPNOTSUPP
    bool can_clone = false;                // else EOPNOTSUPP; needs can_copy_range
  };
  static constexpr uint64_t kFileBytesMax = uint64_t{1} << 44;  // ext4's; beyond it EFBIG

  SimulatedDisk() = default;
  explicit SimulatedDisk(const Options& options) : options_(options) {}
  SimulatedDisk(const SimulatedDisk&) = delete;
  SimulatedDisk& operator=(const SimulatedDisk&) = delete;

  Options& options() { return options_; }

  // ---- Content, past every engine ---------------------------------------------------------------
  // Makes a file or replaces the content of one; durable. `contents` are its first bytes, the rest
  // up to `bytes` is a hole.
  SimulatedFile& Put(std::string_view path, std::string_view contents, uint64_t bytes = 0);
  // Null if there is no such file. Valid until the file is removed.
  SimulatedFile* Find(std::string_view path);
  const SimulatedFile* Find(std::string_view path) const;
  // What a reader would see; checks that the file exists.
  std::string Contents(std::string_view path) const;
  // What would be left if everything unflushed were lost.
  std::string DurableContents(std::string_view path) const;
  // The file must not be open anywhere.
  void Remove(std::string_view path);
  std::vector<std::string> Paths() const;  // in order
  uint64_t allocated_bytes() const;
  // A copy of the current state, all durable, no locks: a starting point that costs no copying of
  // data.
  std::unique_ptr<SimulatedDisk> Clone() const;
  // Somebody outside the simulation holds an exclusive lock on a byte; an empty holder lets go.
  void HoldLock(std::string_view path, uint64_t byte, std::string_view holder);

  // ---- Crash ------------------------------------------------------------------------------------
  // The disk as found after a crash: what is durable, and of the unflushed pieces those that
  // `survives` keeps. Requests in flight are not part of it: see SimulatedIo::Crash().
  std::unique_ptr<SimulatedDisk> AfterCrash(Survives survives) const;

  // ---- For SimulatedIo --------------------------------------------------------------------------
  SimulatedFile& Create(std::string_view path);
  uint64_t NextOpen() { return next_open_++; }

 private:
  using Files = absl::btree_map<std::string, std::unique_ptr<SimulatedFile>, std::less<>>;

  Options options_;
  Files files_;
  uint64_t next_file_ = 1;
  uint64_t next_open_ = 1;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SIMULATED_DISK_H_
