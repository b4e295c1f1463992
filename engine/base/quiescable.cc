#include "millrace/engine/base/quiescable.h"

#include <algorithm>

#include "millrace/engine/base/check.h"

namespace millrace {

Quiescable::~Quiescable() {
  MILLRACE_CHECK(listeners_.empty(), "quiescable destroyed with listeners");
}

void Quiescable::AddQuietListener(QuietListener* listener) { listeners_.push_back(listener); }

void Quiescable::RemoveQuietListener(QuietListener* listener) {
  auto found = std::find(listeners_.begin(), listeners_.end(), listener);
  MILLRACE_CHECK(found != listeners_.end(), "removed a quiet listener that was never added");
  if (notifying_ > 0) {
    *found = nullptr;  // NotifyQuiet() walks by index; it sweeps when it is done
  } else {
    listeners_.erase(found);
  }
}

void Quiescable::NotifyQuiet() {
  ++notifying_;
  // By index: a listener may add or remove listeners, and the added ones need no call, for whoever
  // adds itself looks at is_quiet() first.
  const size_t count = listeners_.size();
  for (size_t i = 0; i < count; ++i) {
    if (listeners_[i] != nullptr) listeners_[i]->OnQuiet();
  }
  if (--notifying_ == 0) {
    listeners_.erase(std::remove(listeners_.begin(), listeners_.end(), nullptr), listeners_.end());
  }
}

}  // namespace millrace
