// Doorbell: lets any thread ask the home thread to call one fixed function soon. What
// Engine::Post() is for single functions, without allocating: for queues that other threads fill.
//
// Rung by the engine's own coroutines and callbacks, or by a loop that has said that it looks for
// posted work before it waits (Engine::BeforeNextLook), it costs no system call. Rung anywhere
// else, on the home thread too (by another engine that lives there), it makes Engine::PollFd()
// readable.
//
// However often it is rung before the home thread gets there, the function is called once. What the
// ringing thread did before Ring() is visible to that call. Made on the home thread, and silenced
// or destroyed there before the engine goes. A silenced bell may be rung for ever, by threads that
// have not heard yet, and destroyed on any thread; the owner sees to it that nobody rings a bell
// that is gone.
#ifndef MILLRACE_ENGINE_IO_DOORBELL_H_
#define MILLRACE_ENGINE_IO_DOORBELL_H_

#include <atomic>
#include <mutex>

#include "millrace/engine/base/intrusive_list.h"

namespace millrace {

class Engine;

class Doorbell {
 public:
  // `callback` is called on the home thread, outside coroutines; it must not suspend, and may
  // destroy the bell.
  using Callback = void (*)(void* context);
  Doorbell(Engine& engine, Callback callback, void* context)
      : callback_(callback), context_(context), engine_(&engine) {}
  ~Doorbell() { Silence(); }
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Any thread.
  void Ring();
  // Home thread. The callback is not called any more, and the engine may go: once this returns, no
  // thread is in the middle of a ring that touches it.
  void Silence();

 private:
  friend class PostQueue;

  const Callback callback_;
  void* const context_;
  std::atomic<bool> is_rung_ = false;
  std::mutex mutex_;
  Engine* engine_;       // under mutex_; null once silenced
  ListLink link_;        // under the post queue's mutex until taken, then the home thread's
  bool is_due_ = false;  // in the list of the home thread
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_DOORBELL_H_
