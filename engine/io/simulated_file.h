// SimulatedFile: one file of a SimulatedDisk, and what of it would survive a crash.
//
// Two states are kept: the current one, which reads see, and the durable one. Between them lies the
// list of effects that completed but were not made durable: writes, discards, zeroes, changes of
// size, in order of completion. A sync makes durable what completed before it was issued; a crash
// keeps the durable state and any subset of the pieces of the rest. Pieces are sectors of 512 bytes
// for writes, pages of 4 KiB for discards and zeroes; a change of size is one piece.
//
// Home thread of whoever uses the disk; nothing here suspends.
#ifndef MILLRACE_ENGINE_IO_SIMULATED_FILE_H_
#define MILLRACE_ENGINE_IO_SIMULATED_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "millrace/engine/io/sparse_image.h"

namespace millrace {

// Something a crash may keep or lose.
struct UnflushedPiece {
  std::string_view path;
  IoOpcode opcode = IoOpcode::kWrite;  // kWrite, kDiscard, kWriteZeroes or kTruncate
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t effect = 0;        // which effect of this file it is part of, in order of completion
  bool is_in_flight = false;  // its request had not completed
};
using Survives = absl::FunctionRef<bool(const UnflushedPiece&)>;

class SimulatedFile {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  SimulatedFile(std::string_view path, uint64_t number) : path_(path), number_(number) {}

  const std::string& path() const { return path_; }
  uint64_t number() const { return number_; }
  const SparseImage& current() const { return current_; }
  const SparseImage& durable() const { return durable_; }

  // ---- Effects, in order of completion ----------------------------------------------------------
  // Writes the first `bytes` of `iov`.
  void Write(uint64_t offset, absl::Span<const iovec> iov, uint64_t bytes);
  void WriteZeroes(uint64_t offset, uint64_t bytes);
  void Discard(uint64_t offset, uint64_t bytes);
  void Resize(uint64_t bytes);
  // How many effects there have been: what a sync issued now will cover.
  uint64_t effects() const { return forgotten_ + unflushed_.size(); }
  // How many of them are durable.
  uint64_t durable_effects() const { return forgotten_; }
  // One that is not: number durable_effects() to effects() - 1. Valid until the next effect.
  struct EffectView {
    IoOpcode opcode = IoOpcode::kWrite;
    uint64_t offset = 0;  // of kTruncate: the size
    uint64_t bytes = 0;
    absl::Span<const char> data;  // of a write
  };
  EffectView UnflushedEffect(uint64_t number) const;
  // Makes the first `covered` effects durable.
  void MakeDurable(uint64_t covered);
  // Replaces both states.
  void Reset(SparseImage image);

  // A request of the file that has not completed; `source` is what a kCopyRange copies from.
  struct InFlight {
    const IoRequest* request = nullptr;
    const SimulatedFile* source = nullptr;
  };
  // The file after a crash. Of `in_flight` only those that change it count. A copy is a write of
  // what its source holds now.
  SparseImage AfterCrash(absl::Span<const InFlight> in_flight, Survives survives) const;

  // ---- Locks ------------------------------------------------------------------------------------
  // Shared ones by opens, exclusive ones by somebody outside the simulation.
  void LockShared(uint64_t open, uint64_t byte);
  bool IsLockedBy(uint64_t open, uint64_t byte) const;
  void Unlock(uint64_t open, uint64_t byte);
  void UnlockAll(uint64_t open);
  // Empty if nobody but `open` holds a lock (only exclusive ones count if so asked), else who does.
  std::string OtherHolder(uint64_t open, uint64_t byte, bool exclusive_only) const;
  void SetOutsideHolder(uint64_t byte, std::string_view holder);  // empty: nobody any more

 private:
  struct Effect {
    IoOpcode opcode;
    uint64_t offset;
    uint64_t bytes;
    size_t data;  // of a write: where its bytes start in unflushed_data_
  };
  using Opens = absl::InlinedVector<uint64_t, 4>;

  static Effect EffectOf(const InFlight& in_flight, std::vector<char>& data);
  void ApplyPieces(SparseImage& image, const Effect& effect, const char* data, uint64_t number,
                   bool is_in_flight, Survives survives) const;

  const std::string path_;
  const uint64_t number_;
  SparseImage current_;
  SparseImage durable_;
  std::vector<Effect> unflushed_;
  std::vector<char> unflushed_data_;
  uint64_t forgotten_ = 0;  // effects that are durable
  absl::btree_map<uint64_t, Opens> shared_locks_;
  absl::btree_map<uint64_t, std::string> outside_locks_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SIMULATED_FILE_H_
