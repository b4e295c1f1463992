// CrashLog: what a run did to the files of a SimulatedDisk, and every moment at which the machine
// might have stopped.
//
// It is the engine's decider: with SimulatedIo::SetCrashPoints on it is asked before and after each
// effect, says "go on", and takes down how far each file is durable, what was completed on top and
// what is in flight. Afterwards crash_images.h makes of that the disks a crash could have left.
//
//   CrashLog log(schedule);                       // who decides everything else; may be null
//   engine = Engine::Create({.simulated = true, .decider = &log, .disk = &disk});
//   log.Watch(*(*engine)->simulated_io());
//   ... run ...
//   log.Unwatch();
//
// The effects of the disk must not have begun before Watch() (a disk from Clone() has none).
#ifndef MILLRACE_TESTS_SUPPORT_CRASH_LOG_H_
#define MILLRACE_TESTS_SUPPORT_CRASH_LOG_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// A change of one file.
struct CrashEffect {
  IoOpcode opcode = IoOpcode::kWrite;  // kWrite, kWriteZeroes, kDiscard, kTruncate
  uint64_t offset = 0;                 // kTruncate: the size
  uint64_t bytes = 0;
  std::string data;  // kWrite
};

struct CrashFile {
  std::string path;
  SparseImage before;                // durable when the log began, or empty
  std::vector<CrashEffect> effects;  // in order of completion
};

struct CrashPoint {
  struct File {
    uint64_t durable = 0;  // of CrashFile::effects, the first so many
    uint64_t done = 0;     // and so many had completed
    std::vector<CrashEffect> in_flight;
  };
  // In the order of CrashLog::files(); files that did not exist yet are missing at the end.
  std::vector<File> files;
  uint64_t tag = 0;  // see CrashLog::SetTag
  bool is_before_effect = false;
};

class CrashLog final : public Decider {
 public:
  explicit CrashLog(Decider* schedule = nullptr) : schedule_(schedule) {}

  void Watch(SimulatedIo& io);
  void Unwatch();
  // Called at each point for what the test wants to know about it.
  void SetTag(std::function<uint64_t()> tag) { tag_ = std::move(tag); }

  const std::vector<CrashFile>& files() const { return files_; }
  const std::vector<CrashPoint>& points() const { return points_; }
  // The moment between points: the next point has this number.
  uint64_t now() const { return points_.size(); }

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

 private:
  void TakePoint(bool is_before_effect);
  size_t FileNumber(const SimulatedFile& file);
  void TakeEffects(const SimulatedFile& file);
  void TakeInFlight(CrashPoint& point);

  Decider* const schedule_;
  SimulatedIo* io_ = nullptr;
  std::function<uint64_t()> tag_;
  std::vector<CrashFile> files_;
  std::vector<CrashPoint> points_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CRASH_LOG_H_
