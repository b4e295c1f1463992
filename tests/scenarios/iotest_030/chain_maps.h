// ChainMaps: which clusters every image of a chain holds itself, and what jobs may have made of
// that: the map of `qemu-io -c map`, which iotest 030 compares after each stream.
//
//   ChainMaps maps(story);                    // as the images are now
//   ... a stream into n2 down to n0 ends ...
//   maps.OnStreamed(2, 0);                    // n2 holds what n1 held, too
//   MILLRACE_RETURN_IF_ERROR(maps.Check(story));
//
// What the guest of the story writes is told apart: its clusters of the layers that it writes to
// are not looked at. Every other cluster of every image is.
#ifndef MILLRACE_TESTS_SCENARIOS_IOTEST_030_CHAIN_MAPS_H_
#define MILLRACE_TESTS_SCENARIOS_IOTEST_030_CHAIN_MAPS_H_

#include <cstddef>
#include <optional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "tests/support/chain_story.h"

namespace millrace {

class ChainMaps {
 public:
  explicit ChainMaps(ChainStory& story);

  // The top holds what it held and what layers between held, down to the base, which stays as it
  // is; without one down to the lowest.
  void OnStreamed(size_t top, std::optional<size_t> base);
  // The base holds what it held and what layers down from the top held.
  void OnCommitted(size_t top, size_t base);
  // The same of the guest's own layer: by granules of a mirror, each of which is copied whole; and
  // from then on the guest writes to the base.
  void OnCommittedActive(size_t base);
  // A stream into the top has begun and not succeeded: each cluster is as before or as after it.
  void OnStreamBegun(size_t top, std::optional<size_t> base);

  // Internal error unless every image holds what it should.
  absl::Status Check(ChainStory& story) const;

 private:
  using Cluster = MemoryOverlayImage::Cluster;
  using Map = std::vector<Cluster>;

  // What is seen from `top` of layers `lowest` and above.
  Map Merged(size_t top, size_t lowest) const;
  absl::Status CheckCluster(ChainStory& story, size_t layer, size_t cluster) const;

  std::vector<Map> maps_;      // bottom first
  std::vector<Map> may_also_;  // be; empty: nothing else may
  std::set<size_t> guests_layers_;
  std::optional<size_t> mirrored_into_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_IOTEST_030_CHAIN_MAPS_H_
