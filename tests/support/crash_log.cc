#include "tests/support/crash_log.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

std::string Gather(absl::Span<const iovec> pieces) {
  std::string data;
  for (const iovec& each : pieces)
    data.append(static_cast<const char*>(each.iov_base), each.iov_len);
  return data;
}

// What a request would do; false if it changes nothing.
bool EffectOf(const IoRequest& request, const SimulatedFile* source, CrashEffect& effect) {
  effect = {request.opcode, request.offset, request.bytes, {}};
  switch (request.opcode) {
    case IoOpcode::kWrite:
      effect.data = Gather(request.iov);
      return request.bytes > 0;
    case IoOpcode::kCopyRange: {
      const uint64_t end = source == nullptr ? 0 : source->current().bytes();
      if (request.source_offset >= end) return false;
      effect.opcode = IoOpcode::kWrite;
      effect.bytes = std::min(request.bytes, end - request.source_offset);
      effect.data.resize(effect.bytes);
      source->current().Read(request.source_offset, absl::MakeSpan(effect.data));
      return effect.bytes > 0;
    }
    case IoOpcode::kDiscard:
    case IoOpcode::kWriteZeroes:
      return request.bytes > 0;
    case IoOpcode::kTruncate:
      return true;
    default:
      return false;
  }
}

}  // namespace

void CrashLog::Watch(SimulatedIo& io) {
  io_ = &io;
  io.SetCrashPoints(true);
  for (const std::string& path : io.disk().Paths()) FileNumber(*io.disk().Find(path));
  TakePoint(true);
}

void CrashLog::Unwatch() {
  TakePoint(false);
  io_->SetCrashPoints(false);
  io_ = nullptr;
}

size_t CrashLog::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind == ChoiceKind::kCrash) {
    if (io_ != nullptr) TakePoint(options.back().detail == "crash before");
    return 0;
  }
  return schedule_ == nullptr ? 0 : schedule_->Pick(kind, options);
}

size_t CrashLog::FileNumber(const SimulatedFile& file) {
  for (size_t i = 0; i < files_.size(); ++i) {
    if (files_[i].path == file.path()) return i;
  }
  MILLRACE_CHECK(file.durable_effects() == 0, "a file that was changed before the log began");
  files_.push_back({file.path(), file.durable(), {}});
  return files_.size() - 1;
}

void CrashLog::TakeEffects(const SimulatedFile& file) {
  std::vector<CrashEffect>& effects = files_[FileNumber(file)].effects;
  MILLRACE_CHECK(effects.size() >= file.durable_effects(), "an effect was missed");
  while (effects.size() < file.effects()) {
    const SimulatedFile::EffectView view = file.UnflushedEffect(effects.size());
    effects.push_back(
        {view.opcode, view.offset, view.bytes, std::string(view.data.data(), view.data.size())});
  }
}

void CrashLog::TakeInFlight(CrashPoint& point) {
  io_->ForEachInFlight(
      [&](const IoRequest& request, const SimulatedFile& file, const SimulatedFile* source) {
        CrashEffect effect;
        if (!EffectOf(request, source, effect)) return;
        point.files[FileNumber(file)].in_flight.push_back(std::move(effect));
      });
}

void CrashLog::TakePoint(bool is_before_effect) {
  CrashPoint point;
  point.is_before_effect = is_before_effect;
  const SimulatedDisk& disk = io_->disk();
  for (const std::string& path : disk.Paths()) TakeEffects(*disk.Find(path));
  for (const CrashFile& each : files_) {
    const SimulatedFile* file = disk.Find(each.path);
    point.files.push_back({file->durable_effects(), file->effects(), {}});
  }
  TakeInFlight(point);
  if (tag_) point.tag = tag_();
  points_.push_back(std::move(point));
}

}  // namespace millrace
