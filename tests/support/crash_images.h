// CrashImages: the disks that a crash at one point of a CrashLog could have left.
//
// What is durable is there. Of the rest every piece may be there or not: a sector of 512 bytes of a
// write, a page of a discard or of zeroes, a change of size; completed or in flight. All subsets of
// up to ten pieces are made; of more, in each file every prefix in order of completion, with the
// other files' pieces all lost and all kept; all but one; one only; and some at random.
//
// A file's state is known by the fold of what was applied to it, so equal states met again at other
// points are recognised without looking at their bytes.
#ifndef MILLRACE_TESTS_SUPPORT_CRASH_IMAGES_H_
#define MILLRACE_TESTS_SUPPORT_CRASH_IMAGES_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "tests/support/crash_log.h"

namespace millrace {

class CrashImages {
 public:
  struct Options {
    uint64_t samples = 64;              // random subsets where not all are made
    uint64_t subsets_max = UINT64_MAX;  // per point; beyond it so many are drawn at random
    static constexpr size_t kAllUpTo = 10;
  };

  CrashImages(const CrashLog& log, const Options& options, uint64_t seed);

  // Goes to a later point of the log.
  void MoveTo(size_t point);
  size_t files() const { return states_.size(); }
  // How many subsets there are to look at here.
  size_t subsets() const { return subsets_.size(); }
  // Chooses one. Then each file's state has a key and content.
  void Choose(size_t subset);
  uint64_t Key(size_t file) const { return states_[file].key; }
  SparseImage Content(size_t file) const;
  // Of all files together.
  uint64_t Key() const;

 private:
  struct Piece {
    size_t file;
    const CrashEffect* effect;
    uint64_t offset;
    uint64_t bytes;
    uint64_t hash;
  };
  struct State {
    SparseImage durable;
    uint64_t durable_effects = 0;
    uint64_t durable_key = 0;
    uint64_t key = 0;  // with the chosen pieces
  };
  using Subset = std::vector<bool>;

  void AddPieces(size_t file, const CrashEffect& effect, std::vector<Piece>& pieces) const;
  static void Apply(SparseImage& image, const Piece& piece);
  void MakeSubsets();
  void MakeAllSubsets();
  void MakeSomeSubsets();
  void MakePrefixes();
  void Thin();

  const CrashLog& log_;
  const Options options_;
  RandomStream random_;
  std::vector<State> states_;
  std::vector<Piece> pieces_;
  std::vector<Subset> subsets_;
  const Subset* chosen_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CRASH_IMAGES_H_
