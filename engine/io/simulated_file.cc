#include "millrace/engine/io/simulated_file.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {

// ---- Effects -----------------------------------------------------------------------------------

void SimulatedFile::Write(uint64_t offset, absl::Span<const iovec> iov, uint64_t bytes) {
  unflushed_.push_back({IoOpcode::kWrite, offset, bytes, unflushed_data_.size()});
  for (const iovec& each : iov) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(each.iov_len, bytes));
    if (count == 0) continue;
    const auto* from = static_cast<const char*>(each.iov_base);
    current_.Write(offset, {from, count});
    unflushed_data_.insert(unflushed_data_.end(), from, from + count);
    offset += count;
    bytes -= count;
  }
}

void SimulatedFile::WriteZeroes(uint64_t offset, uint64_t bytes) {
  current_.WriteZeroes(offset, bytes);
  unflushed_.push_back({IoOpcode::kWriteZeroes, offset, bytes, 0});
}

void SimulatedFile::Discard(uint64_t offset, uint64_t bytes) {
  current_.Discard(offset, bytes);
  unflushed_.push_back({IoOpcode::kDiscard, offset, bytes, 0});
}

void SimulatedFile::Resize(uint64_t bytes) {
  current_.Resize(bytes);
  unflushed_.push_back({IoOpcode::kTruncate, bytes, 0, 0});
}

SimulatedFile::EffectView SimulatedFile::UnflushedEffect(uint64_t number) const {
  MILLRACE_CHECK(number >= forgotten_ && number < effects(), "an effect that is no longer kept");
  const Effect& effect = unflushed_[static_cast<size_t>(number - forgotten_)];
  EffectView view = {effect.opcode, effect.offset, effect.bytes, {}};
  if (effect.opcode == IoOpcode::kWrite) {
    view.data = {unflushed_data_.data() + effect.data, static_cast<size_t>(effect.bytes)};
  }
  return view;
}

void SimulatedFile::MakeDurable(uint64_t covered) {
  if (covered <= forgotten_) return;  // a sync that was issued later has been faster
  const size_t count = static_cast<size_t>(covered - forgotten_);
  for (size_t i = 0; i < count; ++i) {
    const Effect& effect = unflushed_[i];
    ApplyPieces(durable_, effect, unflushed_data_.data() + effect.data, forgotten_ + i, false,
                [](const UnflushedPiece&) { return true; });
  }
  forgotten_ = covered;
  if (count == unflushed_.size()) {
    unflushed_.clear();
    unflushed_data_.clear();
    return;
  }
  unflushed_.erase(unflushed_.begin(), unflushed_.begin() + static_cast<ptrdiff_t>(count));
  size_t data = unflushed_data_.size();
  for (const Effect& effect : unflushed_) {
    if (effect.opcode == IoOpcode::kWrite) data = std::min(data, effect.data);
  }
  unflushed_data_.erase(unflushed_data_.begin(),
                        unflushed_data_.begin() + static_cast<ptrdiff_t>(data));
  for (Effect& effect : unflushed_) {
    if (effect.opcode == IoOpcode::kWrite) effect.data -= data;
  }
}

void SimulatedFile::Reset(SparseImage image) {
  forgotten_ = effects();
  unflushed_.clear();
  unflushed_data_.clear();
  durable_ = image;
  current_ = std::move(image);
}

// ---- Crash -------------------------------------------------------------------------------------

void SimulatedFile::ApplyPieces(SparseImage& image, const Effect& effect, const char* data,
                                uint64_t number, bool is_in_flight, Survives survives) const {
  if (effect.opcode == IoOpcode::kTruncate) {
    if (survives({path_, effect.opcode, effect.offset, 0, number, is_in_flight})) {
      image.Resize(effect.offset);
    }
    return;
  }
  const uint64_t unit = effect.opcode == IoOpcode::kWrite ? kSectorBytes : SparseImage::kPageBytes;
  const uint64_t end = effect.offset + effect.bytes;
  // Pieces that survive side by side are applied together: the usual case, and whole pages stay so.
  uint64_t from = effect.offset;
  uint64_t to = from;
  auto apply = [&] {
    const uint64_t count = to - from;
    if (count == 0) return;
    if (effect.opcode == IoOpcode::kWrite) {
      image.Write(from, {data + (from - effect.offset), static_cast<size_t>(count)});
    } else if (effect.opcode == IoOpcode::kWriteZeroes) {
      image.WriteZeroes(from, count);
    } else {
      image.Discard(from, count);
    }
  };
  for (uint64_t start = effect.offset; start < end;) {
    const uint64_t piece_end = std::min(end, (start / unit + 1) * unit);
    if (survives({path_, effect.opcode, start, piece_end - start, number, is_in_flight})) {
      to = piece_end;
    } else {
      apply();
      from = to = piece_end;
    }
    start = piece_end;
  }
  apply();
}

// What a request would do when it completes; `data` are the bytes of a write.
SimulatedFile::Effect SimulatedFile::EffectOf(const InFlight& in_flight, std::vector<char>& data) {
  const IoRequest& request = *in_flight.request;
  Effect effect = {request.opcode, request.offset, request.bytes, 0};
  data.clear();
  if (request.opcode == IoOpcode::kWrite) {
    for (const iovec& each : request.iov) {
      const auto* from = static_cast<const char*>(each.iov_base);
      data.insert(data.end(), from, from + each.iov_len);
    }
  } else if (request.opcode == IoOpcode::kCopyRange) {
    const uint64_t end = in_flight.source == nullptr ? 0 : in_flight.source->current().bytes();
    effect.opcode = IoOpcode::kWrite;
    effect.bytes = std::min(request.bytes, end - std::min(end, request.source_offset));
    data.resize(static_cast<size_t>(effect.bytes));
    if (!data.empty()) {
      in_flight.source->current().Read(request.source_offset, absl::MakeSpan(data));
    }
  }
  return effect;
}

SparseImage SimulatedFile::AfterCrash(absl::Span<const InFlight> in_flight,
                                      Survives survives) const {
  SparseImage image = durable_;
  uint64_t number = forgotten_;
  for (const Effect& effect : unflushed_) {
    ApplyPieces(image, effect, unflushed_data_.data() + effect.data, number++, false, survives);
  }
  std::vector<char> data;
  for (const InFlight& each : in_flight) {
    const Effect effect = EffectOf(each, data);
    const bool changes_bytes = effect.opcode == IoOpcode::kWrite ||
                               effect.opcode == IoOpcode::kDiscard ||
                               effect.opcode == IoOpcode::kWriteZeroes;
    if (!changes_bytes && effect.opcode != IoOpcode::kTruncate) continue;
    ApplyPieces(image, effect, data.data(), number++, true, survives);
  }
  return image;
}

// ---- Locks -------------------------------------------------------------------------------------

void SimulatedFile::LockShared(uint64_t open, uint64_t byte) {
  shared_locks_[byte].push_back(open);
}

bool SimulatedFile::IsLockedBy(uint64_t open, uint64_t byte) const {
  auto entry = shared_locks_.find(byte);
  return entry != shared_locks_.end() &&
         std::find(entry->second.begin(), entry->second.end(), open) != entry->second.end();
}

void SimulatedFile::Unlock(uint64_t open, uint64_t byte) {
  auto entry = shared_locks_.find(byte);
  if (entry == shared_locks_.end()) return;
  Opens& opens = entry->second;
  opens.erase(std::remove(opens.begin(), opens.end(), open), opens.end());
  if (opens.empty()) shared_locks_.erase(entry);
}

void SimulatedFile::UnlockAll(uint64_t open) {
  for (auto entry = shared_locks_.begin(); entry != shared_locks_.end();) {
    Opens& opens = entry->second;
    opens.erase(std::remove(opens.begin(), opens.end(), open), opens.end());
    entry = opens.empty() ? shared_locks_.erase(entry) : std::next(entry);
  }
}

std::string SimulatedFile::OtherHolder(uint64_t open, uint64_t byte, bool exclusive_only) const {
  if (auto outside = outside_locks_.find(byte); outside != outside_locks_.end()) {
    return outside->second;
  }
  auto entry = shared_locks_.find(byte);
  if (exclusive_only || entry == shared_locks_.end()) return {};
  for (uint64_t each : entry->second) {
    if (each != open) return StrCat("open ", each, " of '", path_, "'");
  }
  return {};
}

void SimulatedFile::SetOutsideHolder(uint64_t byte, std::string_view holder) {
  if (holder.empty()) {
    outside_locks_.erase(byte);
  } else {
    outside_locks_[byte] = std::string(holder);
  }
}

}  // namespace millrace
