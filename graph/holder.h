// Holder: who holds an attachment, a lease, a claim or a drained section, and since when.
//
// One Holder object per user (a job, a guest device, an export), shared by everything that user
// holds; refusals name it. Identity matters: a section exempts the attachments that carry the very
// same Holder as its owner.
//
// Immutable once it is made and shared, so a reference may be kept by whoever tells people later
// who was in the way. Home thread.
#ifndef MILLRACE_GRAPH_HOLDER_H_
#define MILLRACE_GRAPH_HOLDER_H_

#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

struct Holder {
  std::string id;         // "stream0"; may be empty: "an unnamed block device"
  std::string type;       // "stream job", "block device", "node"
  Nanoseconds since = 0;  // engine time
  // What a drain must bring to rest before it is granted; null for users whose requests simply
  // queue. Must live as long as anything carries this holder.
  Quiescable* quiescable = nullptr;

  // "stream job 'stream0'": how refusals call it.
  std::string Describe() const {
    if (id.empty()) return "an unnamed " + type;
    return type + " '" + id + "'";
  }
  ConflictHolder AsConflictHolder() const { return {id, type, since, {}}; }
};

using HolderRef = std::shared_ptr<const Holder>;

// A holder that is nobody else's. `since` is Engine::clock().Now(), as explanations show it.
inline HolderRef MakeHolder(std::string id, std::string type, Nanoseconds since = 0,
                            Quiescable* quiescable = nullptr) {
  auto holder = std::make_shared<Holder>();
  holder->id = std::move(id);
  holder->type = std::move(type);
  holder->since = since;
  holder->quiescable = quiescable;
  return holder;
}

}  // namespace millrace

#endif  // MILLRACE_GRAPH_HOLDER_H_
