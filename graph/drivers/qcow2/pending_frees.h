// PendingFrees: host clusters that the tables let go of, and that may not be reused yet.
// Internal; not installed.
//
// A cluster waits here until nobody can reach it any more by its old mapping: the changed table is
// durable (else a crash brings the old mapping back, with foreign data behind it), and every
// request that was in flight when the mapping changed has ended (race R83: one of them may be about
// to write there). Until then its refcount stays, so it cannot be allocated. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_PENDING_FREES_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_PENDING_FREES_H_

#include <cstdint>
#include <deque>

#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/refcounts.h"
#include "millrace/graph/drivers/qcow2/writeback.h"

namespace millrace::qcow2 {

class PendingFrees {
 public:
  PendingFrees(Image& image, Refcounts& refcounts, Writeback& writeback)
      : image_(image), refcounts_(refcounts), writeback_(writeback) {}

  // One user less for each cluster of `run`, by a table change made in this very step. `discard`
  // gives the space back to the host once nobody uses it.
  void Add(ClusterRun run, bool discard);
  // The same for an L2 table, which stays in metadata() until it is free.
  void AddL2Table(HostCluster cluster);
  // Gives back what may be. What cannot be given back for an I/O error stays in use: a leak, which
  // goes to the log.
  void CoRelease() MILLRACE_MAY_SUSPEND;

  bool empty() const { return frees_.empty(); }
  // Clusters that wait, shared ones included.
  uint64_t clusters() const { return clusters_; }

 private:
  struct PendingFree {
    ClusterRun run;
    bool discard = false;
    bool is_l2_table = false;
    uint64_t request = 0;  // the newest one in flight that may know the old mapping
    uint64_t round = 0;    // that writes the changed table
  };
  void Add(PendingFree pending);
  bool IsDue(const PendingFree& pending) const;

  Image& image_;
  Refcounts& refcounts_;
  Writeback& writeback_;
  std::deque<PendingFree> frees_;  // in order of both request and round
  uint64_t clusters_ = 0;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_PENDING_FREES_H_
