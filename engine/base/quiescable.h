// Quiescable: something that a drained section must bring to rest before it is granted: a job.
//
// The graph's DrainedSection knows jobs only through this interface. A section counts one
// BeginQuiesce() on every Quiescable above the drained node, its owner excepted, and waits until
// each of them is quiet; EndQuiesce() lets it go on. Begin and End are counted and never suspend.
//
// What quiet means: nothing of it is in flight, and it takes no step until its last EndQuiesce().
// A job is quiet while it is not started, parked at a pause point, parked in a quiet wait (below),
// or concluded. Completing is a step like any other, so a completing job parks as well.
//
// The owner of a section. A job that asks for a drained section of its own must not make others
// wait for it while it waits for them, and must not stop while its section is granted, or nobody
// could finish. So DrainedSection::CoBegin does, on its owner (if it has one):
//
//   owner->EnterQuietWait();            // counts as quiet from here on
//   ... wait for the section; in the very step that grants it: owner->OnSectionGranted() ...
//   owner->CoLeaveQuietWait();          // parks here if somebody else's drain has come first
//   ... at the end of the section: owner->OnSectionEnded() ...
//
// While it owns a granted section it is not quiet and does not park, whoever asks: a later drain
// that covers it stays pending until the section has ended and it has come to its next pause point.
//
// Home thread only. Nothing but the one Co function suspends.
#ifndef MILLRACE_ENGINE_BASE_QUIESCABLE_H_
#define MILLRACE_ENGINE_BASE_QUIESCABLE_H_

#include <string>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

// Hears when a Quiescable becomes quiet.
class QuietListener {
 public:
  // Called in the middle of somebody else's step: set a flag or wake a coroutine, no more. It may
  // remove listeners (itself included). Being quiet may already be over when the woken coroutine
  // runs: re-check is_quiet().
  virtual void OnQuiet() = 0;

 protected:
  ~QuietListener() = default;
};

class Quiescable {
 public:
  Quiescable() = default;
  Quiescable(const Quiescable&) = delete;
  Quiescable& operator=(const Quiescable&) = delete;

  // Asks it to come to rest; it does so at its next pause point. Wakes it from a sleep, so that it
  // notices soon.
  virtual void BeginQuiesce() = 0;
  virtual void EndQuiesce() = 0;
  virtual bool is_quiet() const = 0;
  // For wait reports and conflicts: "stream job 'drive0'".
  virtual std::string DescribeQuiescable() const = 0;

  // ---- For the code that opens drained sections on behalf of this owner -------------------------
  // Counted. Between the two the caller's coroutine waits, or works on behalf of a holder of its
  // own whose requests every drain counts (a header update); of this owner, it does nothing.
  virtual void EnterQuietWait() = 0;
  // Returns when the owner may go on: at once if it owns a granted section or nobody quiesces it.
  virtual void CoLeaveQuietWait() MILLRACE_MAY_SUSPEND = 0;
  // Counted: an owner may hold several sections.
  virtual void OnSectionGranted() = 0;
  virtual void OnSectionEnded() = 0;

  // A listener must be removed before it or this object is destroyed.
  void AddQuietListener(QuietListener* listener);
  void RemoveQuietListener(QuietListener* listener);

 protected:
  // All listeners must be gone (checked).
  ~Quiescable();
  // Set the state, then call this.
  void NotifyQuiet();

 private:
  absl::InlinedVector<QuietListener*, 2> listeners_;  // null: removed while notifying
  int notifying_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_QUIESCABLE_H_
