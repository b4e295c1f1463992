// FrozenChain: a lease on the links from top down to the last node of a chain.
//
// While it lives no one else can replace or remove these links, so both ends stay in the graph and
// everything between stays as it was validated (G4). Taking one never suspends and is all or
// nothing: FailedPrecondition names the link and who holds it (kFrozenLink), or the filter whose
// owner must be able to remove it (kUnleasableFilter). A link carries at most one lease.
//
// The node below the last one is *not* a member: Below() derives it at the moment of an edit, and
// it is valid for as long as nothing suspends. The owner edits its own links by showing the lease
// to a GraphTransaction; edited links leave the lease.
//
// A lease keeps links, not nodes: as long as it is held, its holder has an attachment on the top,
// or on a node above it. An edit that would drop the top for want of any other user is refused like
// one that changes a leased link; the holder's own last attachment may go before its lease.
//
// Move-only; released by its destructor. Home thread only.
#ifndef MILLRACE_GRAPH_FREEZE_H_
#define MILLRACE_GRAPH_FREEZE_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"

namespace millrace {

struct FrozenChainCore;

class [[nodiscard]] FrozenChain {
 public:
  // Leases every link of the chain (filtered or backing) from `top` down to `last`; with top ==
  // last there are none, and the lease only remembers its ends. NotFound if `last` is not below
  // `top`.
  static absl::StatusOr<FrozenChain> Freeze(const GraphReader& reader, NodeId top, NodeId last,
                                            HolderRef holder);

  FrozenChain();
  ~FrozenChain();
  FrozenChain(FrozenChain&& other) noexcept;
  FrozenChain& operator=(FrozenChain&& other) noexcept;

  void Release();
  bool is_held() const { return core_ != nullptr; }
  NodeId top() const;
  NodeId last() const;
  const HolderRef& holder() const;
  // What is below the last node now; nothing if it is the end of the chain.
  std::optional<NodeId> Below(const GraphReader& reader) const;

 private:
  friend class GraphTransaction;
  explicit FrozenChain(std::unique_ptr<FrozenChainCore> core);

  std::unique_ptr<FrozenChainCore> core_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FREEZE_H_
