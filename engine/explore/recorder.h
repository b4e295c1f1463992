// Recorder: writes a run into a block of memory as it happens, so that what a run did can be read
// even if the process that ran it is gone. Records are 16 bytes, labels are kept once.
//
//   Recorder recorder(bytes);      // shared with the process that will read
//   ... decider tells it of choices, steps and notes ...
//   Recording recording = Recorder::Read(bytes);
//
// When the block is full it stops and says so (is_cut_off, is_full). Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_RECORDER_H_
#define MILLRACE_ENGINE_EXPLORE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "millrace/engine/explore/recording.h"

namespace millrace {

class Recorder {
 public:
  // `bytes` must be zeroes, aligned to 16, and outlive the recorder.
  explicit Recorder(absl::Span<char> bytes) : bytes_(bytes) {}

  void OnChoice(uint64_t ordinal, ChoiceKind kind, absl::Span<const Option> options, size_t taken);
  void OnStep(const Option& step, int64_t now_ns);
  void OnNote(std::string_view kind, std::string_view object, std::string_view text);
  void OnEnd();

  static Recording Read(absl::Span<const char> bytes);

 private:
  enum class Type : uint8_t { kNone, kLabel, kChoice, kOption, kStep, kNote, kEnd, kFull };
  // One record; those of type kLabel are followed by their text.
  struct Record {
    Type type = Type::kNone;
    uint8_t kind = 0;     // kChoice: ChoiceKind
    uint16_t number = 0;  // kChoice: option taken
    uint32_t label = 0;   // kLabel: bytes of text; kNote: kind; else name@detail
    uint64_t value = 0;   // kChoice: ordinal; kOption: actor; kStep: time; kNote: object and text
  };
  static_assert(sizeof(Record) == 16);

  uint32_t LabelOf(std::string_view text);
  uint32_t LabelOf(const Option& option);
  void Append(const Record& record, std::string_view text = {});

  absl::Span<char> bytes_;
  size_t used_ = 0;
  bool is_full_ = false;
  absl::flat_hash_map<std::string, uint32_t> labels_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_RECORDER_H_
